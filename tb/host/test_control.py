"""Bench of the run control: start, end, first fault, watchdog, soft reset, counters."""

import random

import cocotb
from amla.rtl.isa import ENGINE_STATES, Engine, Fault
from amla.tb.signals import Pin
from amla.tb.stream import reset, start_clock
from cocotb.triggers import FallingEdge, RisingEdge

BUSY, WAIT_SEMAPHORE, WAIT_MEMORY, IDLE = (1 << i for i in range(len(ENGINE_STATES)))


class Core:
    """The pins, with defaults of a core at rest."""

    def __init__(self, dut):
        self.dut = dut
        names = [
            "start",
            "soft_reset",
            "quiet",
            "halted",
            "clear",
            "launch",
            "halt",
            "overflow",
            "overflow_client",
            "overflow_index",
            "progress",
            "watchdog",
            "active",
            "nonfinite",
            "running",
            "done",
            "error",
            "nonfinite_seen",
            "finished",
            "error_code",
            "error_engine",
            "error_index",
            "cycles",
            "cube_active",
        ]
        for engine in Engine:
            names += [f"engine_fault__{engine:d}__{name}" for name in ("strobe", "code", "index")]
            names += [f"state__{engine:d}", f"head_index__{engine:d}"]
        names += [f"counters__{i}" for i in range(len(Engine) * len(ENGINE_STATES))]
        self.pins = {name: Pin(dut, name) for name in names}
        self.set(
            start=0, soft_reset=0, quiet=1, halted=0, overflow=0, progress=0, watchdog=0, active=0, nonfinite=0
        )
        for engine in Engine:
            self.set(
                **{
                    f"engine_fault__{engine:d}__strobe": 0,
                    f"state__{engine:d}": IDLE,
                    f"head_index__{engine:d}": 100 + engine,
                }
            )

    def set(self, **values):
        for name, value in values.items():
            self.pins[name].set(int(value))

    def get(self, name):
        return self.pins[name].get()

    async def cycle(self, count=1, **strobes):
        """Hold ``strobes`` at one for ``count`` cycles."""
        self.set(**strobes)
        for _ in range(count):
            await RisingEdge(self.dut.clk)
        self.set(**dict.fromkeys(strobes, 0))

    async def launch(self):
        await self.cycle(start=1)
        await FallingEdge(self.dut.clk)
        assert self.get("clear") and self.get("halt"), "START clears before it launches"
        await RisingEdge(self.dut.clk)
        await FallingEdge(self.dut.clk)
        assert self.get("launch") and not self.get("halt") and not self.get("clear")
        await RisingEdge(self.dut.clk)

    async def until_finished(self, limit=50):
        for count in range(limit):
            await FallingEdge(self.dut.clk)
            if self.get("finished"):
                await RisingEdge(self.dut.clk)
                await FallingEdge(self.dut.clk)
                await RisingEdge(self.dut.clk)
                return count
            await RisingEdge(self.dut.clk)
        raise AssertionError("no interrupt")


@cocotb.test()
async def counts_a_run(dut):
    """Counters of every engine sum to CYCLES; a second START begins from zero."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    core = Core(dut)
    await reset(dut)
    for _ in range(3):
        core.set(halted=0, nonfinite=0)
        await core.launch()
        length, active = rng.randrange(20, 300), 0
        expected = {engine: [0] * 4 for engine in Engine}
        for engine in Engine:
            expected[engine][3] += 2  # clear and launch
        for cycle in range(length):
            on = rng.random() < 0.5
            active += on
            core.set(active=on, nonfinite=cycle == 7)
            for engine in Engine:
                state = rng.randrange(4)
                expected[engine][state] += 1
                core.set(**{f"state__{engine:d}": 1 << state})
            await RisingEdge(dut.clk)
        core.set(active=0, **{f"state__{engine:d}": IDLE for engine in Engine}, halted=1)
        for engine in Engine:
            expected[engine][3] += 1
        assert await core.until_finished() == 0
        assert (core.get("done"), core.get("error"), core.get("running")) == (1, 0, 0)
        assert core.get("cycles") == length + 3 and core.get("cube_active") == active
        assert core.get("nonfinite_seen")
        for engine in Engine:
            counters = [core.get(f"counters__{4 * engine + i}") for i in range(4)]
            assert counters == expected[engine] and sum(counters) == core.get("cycles"), engine.name


@cocotb.test()
async def first_fault_counts(dut):
    """The lowest engine of the first cycle is kept; AXI must be quiet before the interrupt; START is refused."""
    start_clock(dut)
    core = Core(dut)
    await reset(dut)
    await core.launch()
    await core.cycle(5)
    core.set(quiet=0)
    for engine, code in ((Engine.VECTOR, Fault.BUFFER_OVERRUN), (Engine.LOAD, Fault.READ_WINDOW)):
        core.set(
            **{
                f"engine_fault__{engine:d}__strobe": 1,
                f"engine_fault__{engine:d}__code": code,
                f"engine_fault__{engine:d}__index": 10 * engine,
            }
        )
    await core.cycle(overflow=1)
    core.set(**{f"engine_fault__{engine:d}__strobe": 0 for engine in Engine})
    await FallingEdge(dut.clk)
    assert core.get("halt") and core.get("error") and not core.get("finished")
    await core.cycle(20, **{f"engine_fault__{Engine.SEQUENCER:d}__strobe": 1})
    assert core.get("running"), "waits for outstanding transactions"
    core.set(quiet=1)
    await core.until_finished()
    fault = (core.get("error_code"), core.get("error_engine"), core.get("error_index"))
    assert fault == (Fault.READ_WINDOW, Engine.LOAD, 10 * Engine.LOAD)
    cycles = core.get("cycles")
    await core.cycle(start=1)
    await core.cycle(5)
    assert core.get("cycles") == cycles and core.get("error"), "START needs a soft reset after a fault"
    core.set(quiet=0)
    await core.cycle(soft_reset=1)
    await core.cycle(5)
    assert core.get("error"), "soft reset waits for AXI"
    core.set(quiet=1)
    await core.cycle(3)
    assert not core.get("error") and not core.get("error_code") and core.get("cycles") == 0
    await core.launch()


@cocotb.test()
async def soft_reset_abandons_a_running_program(dut):
    """It stops, waits for AXI, clears, raises no interrupt, and the next START runs."""
    start_clock(dut)
    core = Core(dut)
    await reset(dut)
    for delay in (1, 2, 3, 4, 30):
        await core.cycle(start=1)
        await core.cycle(delay)
        core.set(quiet=0)
        await core.cycle(soft_reset=1)
        for _ in range(10):
            await FallingEdge(dut.clk)
            assert core.get("running") and not core.get("finished")
            await RisingEdge(dut.clk)
        assert core.get("halt"), "nothing starts while it stops"
        core.set(quiet=1)
        for _ in range(5):
            await FallingEdge(dut.clk)
            assert not core.get("finished")
            await RisingEdge(dut.clk)
        assert not core.get("running") and not core.get("done") and core.get("cycles") == 0


@cocotb.test()
async def semaphore_overflow_is_a_fault(dut):
    """Client and index of the signalling command are kept."""
    start_clock(dut)
    core = Core(dut)
    await reset(dut)
    await core.launch()
    core.set(overflow_client=Engine.DRAIN, overflow_index=77)
    await core.cycle(overflow=1)
    await core.until_finished()
    fault = (core.get("error_code"), core.get("error_engine"), core.get("error_index"))
    assert fault == (Fault.SEMAPHORE_OVERFLOW, Engine.DRAIN, 77)


@cocotb.test()
async def watchdog_needs_a_standstill(dut):
    """Work or data restart the count; the first waiting engine is named; AXI that never answers does not hold it."""
    start_clock(dut)
    core = Core(dut)
    await reset(dut)
    core.set(watchdog=20)
    for waiting, expected in (
        ((Engine.CUBE, WAIT_SEMAPHORE), Engine.CUBE),
        ((Engine.STORE, WAIT_MEMORY), Engine.STORE),
    ):
        core.set(**{f"state__{engine:d}": IDLE for engine in Engine})
        await core.launch()
        core.set(**{f"state__{Engine.LOAD:d}": WAIT_MEMORY if waiting[1] == WAIT_SEMAPHORE else IDLE})
        core.set(**{f"state__{waiting[0]:d}": waiting[1]})
        for _ in range(5):
            await core.cycle(15)
            await core.cycle(progress=1)
        for _ in range(5):
            await core.cycle(15)
            core.set(**{f"state__{Engine.FEED:d}": BUSY})
            await core.cycle()
            core.set(**{f"state__{Engine.FEED:d}": IDLE})
        assert core.get("running") and not core.get("error")
        core.set(quiet=0)
        assert 15 <= await core.until_finished() <= 25
        fault = (core.get("error_code"), core.get("error_engine"), core.get("error_index"))
        assert fault == (Fault.WATCHDOG, expected, 100 + expected)
        core.set(quiet=1)
        await core.cycle(soft_reset=1)
        await core.cycle(3)
