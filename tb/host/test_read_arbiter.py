"""Bench of the read arbiter: clients with random bursts; each gets its data, in order, and in its turn."""

import random

import cocotb
import numpy as np
from amla.tb.host.axi import AxiMemory
from amla.tb.host.gm import GlobalMemory, PlannedError, Response
from amla.tb.signals import Pin, has_pin
from amla.tb.stream import Scoreboard, StreamDriver, StreamMonitor, reset, start_clock
from cocotb.triggers import RisingEdge

GM_BYTES = 1 << 14


class Bench:
    """Drivers and monitors of all clients, and the order of the requests on the bus."""

    def __init__(self, dut, rng: random.Random, *, latency=(1, 1), stall=0.0, interleave=False, pause=0.0):
        self.dut, self.rng = dut, rng
        self.count = next(n for n in range(1, 99) if not has_pin(dut, f"clients__{n}__ar__valid"))
        self.address_bits = Pin(dut, "m_axi_araddr").width
        self.size = Pin(dut, "m_axi_rdata").width // 8
        self.memory = GlobalMemory()
        self.base = GM_BYTES * rng.randrange(1, 99)
        content = np.random.default_rng(rng.getrandbits(32)).integers(0, 256, GM_BYTES, np.uint8)
        self.memory.add(self.base, content)
        self.axi = AxiMemory(dut, self.memory, latency=latency, stall=stall, interleave=interleave, rng=rng)
        self.requests = [StreamDriver(dut, f"clients__{n}__ar", dut.clk, rng=rng, stall=pause)
                         for n in range(self.count)]
        self.boards = [Scoreboard(f"client {n}") for n in range(self.count)]
        self.beats = [StreamMonitor(dut, f"clients__{n}__r", dut.clk, rng=rng, stall=stall,
                                    callback=self.boards[n].observe) for n in range(self.count)]
        self.planned: dict[tuple[int, int], Response] = {}  # (address of the burst, beat) -> its error
        self.order: list[int] = []  # client of each request on the bus
        self.ids: list[int] = []  # client of each beat on the bus
        self._task = cocotb.start_soon(self._watch())

    async def _watch(self) -> None:
        pins = {name: Pin(self.dut, f"m_axi_{name}") for name in (
            "arid", "arvalid", "arready", "rid", "rvalid", "rready")}
        while True:
            await RisingEdge(self.dut.clk)
            if pins["arvalid"].get() and pins["arready"].get():
                self.order.append(pins["arid"].get())
            if pins["rvalid"].get() and pins["rready"].get():
                self.ids.append(pins["rid"].get())

    def stop(self) -> None:
        self._task.cancel()
        self.axi.stop()
        for monitor in self.beats:
            monitor.stop()

    def burst(self) -> tuple[int, int]:
        """(address, beats) of a random burst inside a 4 KiB page."""
        beats = self.rng.choice([1, 2, self.rng.randrange(1, 17)])
        page = self.rng.randrange(GM_BYTES // 4096) * 4096
        return self.base + page + self.rng.randrange(4096 // self.size - beats + 1) * self.size, beats

    async def client(self, number: int, bursts: list[tuple[int, int]]) -> None:
        """Request ``bursts`` and expect their data, with the responses that the memory has planned."""
        for address, beats in bursts:
            for beat in range(beats):
                data = self.memory.read(address + beat * self.size, self.size).tobytes()
                response = self.planned.get((address, beat), Response.OKAY)
                self.boards[number].expect(int.from_bytes(data, "little") | response << 8 * self.size
                                           | (beat == beats - 1) << 8 * self.size + 2)
            await self.requests[number].send(address | beats - 1 << self.address_bits)

    async def run(self, bursts: list[list[tuple[int, int]]]) -> None:
        """All clients at once, until all their data have come."""
        targets = [len(monitor.items) + sum(beats for _, beats in mine)
                   for monitor, mine in zip(self.beats, bursts, strict=True)]
        tasks = [cocotb.start_soon(self.client(number, mine)) for number, mine in enumerate(bursts)]
        for task in tasks:
            await task
        for monitor, target in zip(self.beats, targets, strict=True):
            await monitor.wait(target)


@cocotb.test()
async def every_client_gets_its_data(dut):
    """Random bursts of all clients, in order of the bus or interleaved, with and without stalls."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    for latency, stall, interleave, pause in (((1, 1), 0.0, False, 0.0), ((1, 20), 0.3, True, 0.2),
                                              ((1, 5), 0.6, True, 0.6), ((5, 40), 0.1, False, 0.8)):
        test = Bench(dut, rng, latency=latency, stall=stall, interleave=interleave, pause=pause)
        await reset(dut)
        await test.run([[test.burst() for _ in range(60)] for _ in range(test.count)])
        for board in test.boards:
            board.finish()
        if interleave:
            changes = sum(a != b for a, b in zip(test.ids, test.ids[1:], strict=False))
            assert changes > len(test.order), "the beats of the clients never interleaved"
        test.stop()


@cocotb.test()
async def turns_are_fair(dut):
    """Clients that always request alternate strictly; one that comes late is served after one round."""
    test = Bench(dut, random.Random(cocotb.RANDOM_SEED))
    start_clock(dut)
    await reset(dut)
    await test.run([[test.burst() for _ in range(40)] for _ in range(test.count)])
    # All request from the second round on; the last of them may run out one round early.
    steady = test.order[test.count:39 * test.count]
    for first, second in zip(steady, steady[test.count:], strict=False):
        assert first == second, f"turns {steady}"
    for start in range(0, len(steady) - test.count, test.count):
        assert len(set(steady[start:start + test.count])) == test.count
    for board in test.boards:
        board.finish()


@cocotb.test()
async def a_late_client_waits_one_turn(dut):
    """A client that comes while another requests without pause is served after at most two of its bursts."""
    test = Bench(dut, random.Random(cocotb.RANDOM_SEED))
    start_clock(dut)
    await reset(dut)
    busy = cocotb.start_soon(test.client(0, [(test.base, 1)] * 60))
    late = test.count - 1
    for _ in range(test.rng.randrange(5, 25)):
        await RisingEdge(dut.clk)
    served = len(test.order)
    await test.client(late, [(test.base, 1)])
    await busy
    await test.beats[late].wait(1)
    await test.beats[0].wait(60)
    assert test.order[served:].index(late) <= 2  # one in the arbiter's register, one on the way into it
    for number in (0, late):
        test.boards[number].finish()


@cocotb.test()
async def one_request_per_cycle(dut):
    """Requests of one client go out back to back, and so do the beats."""
    test = Bench(dut, random.Random(cocotb.RANDOM_SEED))
    start_clock(dut)
    await reset(dut)
    before = test.axi.cycle()
    bursts: list[list[tuple[int, int]]] = [[] for _ in range(test.count)]
    bursts[1] = [(test.base + n * test.size, 1) for n in range(200)]
    await test.run(bursts)
    assert test.axi.cycle() - before <= 205
    test.boards[1].finish()


@cocotb.test()
async def strange_beats_are_dropped(dut):
    """A beat whose RID is no client's is accepted and shown to nobody, so that it cannot block the others."""
    test = Bench(dut, random.Random(cocotb.RANDOM_SEED))
    start_clock(dut)
    await reset(dut)
    test.stop()
    rid, rvalid, rready = (Pin(dut, f"m_axi_{name}") for name in ("rid", "rvalid", "rready"))
    for ident in range(1 << rid.width):
        rid.set(ident)
        rvalid.set(1)
        for _ in range(50):
            for monitor in test.beats:
                monitor.ready.set(test.rng.getrandbits(1))
            await RisingEdge(dut.clk)
            valid = [monitor.valid.get() for monitor in test.beats]
            assert valid == [int(number == ident) for number in range(test.count)]
            assert rready.get() == (test.beats[ident].ready.get() if ident < test.count else 1)
    rvalid.set(0)


@cocotb.test()
async def errors_reach_their_client(dut):
    """RRESP goes with its beat to the client that asked."""
    test = Bench(dut, random.Random(cocotb.RANDOM_SEED), latency=(1, 9), interleave=True)
    start_clock(dut)
    await reset(dut)
    for number, (response, beat) in enumerate(((Response.SLVERR, 1), (Response.DECERR, 0))):
        bad = test.base + 4096 * number
        test.planned[bad, beat] = response
        test.memory.read_errors.append(PlannedError(response, addresses=range(bad, bad + 1), beat=beat))
    good = [(test.base + 4096 * number + 8 * test.size, 3) for number in range(test.count)]
    await test.run([[good[number], (test.base + 4096 * (number % 2), 3), good[number]]
                    for number in range(test.count)])
    for board in test.boards:
        board.finish()
