"""Bench of an engine's queue: order, semaphores before start, signals on completion, one state per cycle."""

import random

import cocotb
from amla.rtl.isa import ENGINE_STATES, INDEX_BITS, Fault, Opcode
from amla.rtl.issue.dispatch import MAX_UNFINISHED
from amla.tb.signals import Pin
from amla.tb.stream import StreamDriver, reset, start_clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge

INPUTS = ("engine__start__ready", "engine__done", "engine__stall", "engine__fault", "engine__fault_code",
          "semaphores__grant", "stop")
OUTPUTS = ("engine__start__payload", "engine__start__valid", "semaphores__request", "semaphores__wait",
           "semaphores__strobe", "semaphores__signal", "state", "empty", "head_index", "fault", "fault_code",
           "trace__start", "trace__start_index", "trace__end", "trace__end_index")


class Queue:
    """The queue's pins; every cycle inputs are driven after the rising edge and outputs sampled before the next."""

    def __init__(self, dut):
        self.dut = dut
        self.pins = {name: Pin(dut, name) for name in (*INPUTS, *OUTPUTS)}
        self.set(**dict.fromkeys(INPUTS, 0))

    def set(self, **values):
        for name, value in values.items():
            self.pins[name].set(int(value))

    async def sample(self, grant):
        """Answer a semaphore request with ``grant``; return the outputs of this cycle."""
        await FallingEdge(self.dut.clk)
        granted = bool(self.pins["semaphores__request"].get()) and grant
        self.set(semaphores__grant=granted)
        await ReadOnly()
        outputs = {name: self.pins[name].get() for name in OUTPUTS}
        await RisingEdge(self.dut.clk)
        self.set(semaphores__grant=0)
        return granted, outputs


def _commands(rng, count):
    return [Opcode.MMAD | rng.getrandbits(48) << 16 | rng.getrandbits(192) << 64
            for _ in range(count)]


@cocotb.test()
async def keeps_order_and_tokens(dut):
    """Random commands, grants, engine pauses and completions: every event in order, with the right masks."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    queue = Queue(dut)
    driver = StreamDriver(dut, "push", dut.clk, rng=rng, stall=0.6)
    await reset(dut)
    commands = _commands(rng, 400)
    sending = cocotb.start_soon(
        driver.send_all(index | command << INDEX_BITS for index, command in enumerate(commands)))
    granted = started = ended = deepest = 0
    states = [0] * len(ENGINE_STATES)
    while ended < len(commands):
        fast = started // 50 % 2
        ready, stall = rng.random() < (0.9 if fast else 0.3), rng.random() < 0.5
        finish = started > ended and rng.random() < (0.2 if fast else 0.6)
        queue.set(engine__start__ready=ready, engine__done=finish, engine__stall=stall)
        grant, out = await queue.sample(rng.random() < 0.5)
        state = out["state"]
        assert state.bit_count() == 1, f"states {state:04b}"
        states[state.bit_length() - 1] += 1
        if started > ended:
            assert list(ENGINE_STATES)[state.bit_length() - 1] == ("WAIT_MEMORY" if stall else "BUSY")
            assert out["head_index"] == ended and not out["empty"]
        if grant:
            assert out["semaphores__wait"] == commands[granted] >> 32 & 0xFFFF
        assert out["trace__end"] == out["semaphores__strobe"] == finish
        if finish:
            assert out["semaphores__signal"] == commands[ended] >> 48 & 0xFFFF
            assert out["trace__end_index"] == ended
            ended += 1
        taken = out["engine__start__valid"] and ready
        assert out["trace__start"] == taken
        if taken:
            assert started < granted, f"command {started} started before its semaphores were granted"
            assert out["engine__start__payload"] == commands[started], f"command {started}"
            assert out["trace__start_index"] == started
            started += 1
        granted += grant
        deepest = max(deepest, started - ended)
    await sending
    _, out = await queue.sample(False)
    assert out["empty"] and out["state"] == 1 << list(ENGINE_STATES).index("IDLE")
    assert deepest == MAX_UNFINISHED and min(states) > 0, (deepest, states)


@cocotb.test()
async def stop_freezes(dut):
    """After ``stop`` nothing starts, nothing is asked for, no completion is signalled; a fault passes before it."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    queue = Queue(dut)
    driver = StreamDriver(dut, "push", dut.clk)
    await reset(dut)
    await driver.send_all(index | command << INDEX_BITS for index, command in enumerate(_commands(rng, 3)))
    queue.set(engine__start__ready=1)
    for _ in range(3):
        await queue.sample(True)
    queue.set(engine__start__ready=0, engine__fault=1, engine__fault_code=Fault.BUFFER_OVERRUN)
    _, out = await queue.sample(False)
    assert (out["fault"], out["fault_code"], out["head_index"]) == (1, Fault.BUFFER_OVERRUN, 0)
    queue.set(stop=1, engine__start__ready=1, engine__fault=1)
    for finish in (0, 1, 1, 0):
        queue.set(engine__done=finish)
        _, out = await queue.sample(True)
        assert not (out["engine__start__valid"] or out["semaphores__request"] or out["semaphores__strobe"]
                    or out["trace__start"] or out["trace__end"] or out["fault"]), out
