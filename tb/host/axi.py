"""AXI4 subordinate memory for a manager with flat signal names (``m_axi_araddr``, ...).

The model costs Python time only while something moves: each channel sleeps on the edge of its ``valid`` and
while it waits out a latency, and the data of a read burst are turned into digits once per burst.
"""

import random
from collections import deque
from dataclasses import dataclass, field, replace

import cocotb
import numpy as np
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.memory.timing import Timing
from amla.sw.memory.traffic import Traffic
from cocotb.triggers import Event, NullTrigger, RisingEdge, Timer
from cocotb.utils import get_sim_steps, get_sim_time

from ..signals import Pin
from ..stream import CLOCK_NS
from .gm import GlobalMemory, PlannedError, Response

__all__ = ["AxiMemory"]

_INCR = 1
_BOUNDARY = 4096

@dataclass
class _Burst:
    """One accepted burst; ``times`` are the earliest cycles of its R beats, or of its B."""

    number: int
    ident: int
    address: int
    beats: int
    times: list[int] = field(default_factory=list)
    first: int = 0  # cycle of the first beat, of those on R together
    last: int = 0  # and of the last one so far
    counted: int = 0  # beats before them
    next: int = 0
    digits: str = ""
    responses: list[int] = field(default_factory=list)


class AxiMemory:
    """Answers the AXI4 manager ``<prefix>_*`` of ``dut`` from a :class:`~amla.tb.host.gm.GlobalMemory`.

    A :class:`~amla.sw.memory.timing.Timing` says when each beat may go out at the earliest. Bursts of one ID are
    answered in order, those of different IDs in any order; their R beats mix where a burst has to wait for its next
    one, and with ``interleave`` wherever they can. Of what comes in one cycle reads are timed first.

    Every rule below fails the test when the manager breaks it: INCR bursts of full-width aligned beats; no burst over a
    4 KiB boundary; valid, once high, stays and the payload with it until ready; WLAST on the last beat and only there.
    A burst outside the mapped regions gets DECERR and writes nothing.

    Parameters
    ----------
    dut, memory: top level; the bytes
    prefix:     of the signal names
    preset:     what memory is like
    latency:    instead of the preset's: least and most, at random for each burst, so that IDs overtake each other
    stall:      probability that a ready or a valid of this side is low in a cycle
    interleave: mix the R beats of different IDs
    rng:        source of all randomness; needed unless latency is fixed, stall zero and interleave off

    Members
    -------
    traffic:    bursts so far
    hold:       set True to answer nothing more until it is False again (memory that does not respond)
    """

    def __init__(
        self,
        dut,
        memory: GlobalMemory,
        *,
        prefix: str = "m_axi",
        preset: Memory = IDEAL,
        latency: tuple[int, int] | None = None,
        stall: float = 0.0,
        interleave: bool = False,
        rng: random.Random | None = None,
    ):
        self.memory = memory
        self.traffic = Traffic()
        self.hold = False
        self._edge = RisingEdge(dut.clk)
        self._period = get_sim_steps(CLOCK_NS, "ns")
        self._pins = {name: Pin(dut, f"{prefix}_{name}") for name in (
            "arid", "araddr", "arlen", "arsize", "arburst", "arvalid", "arready",
            "rid", "rdata", "rresp", "rlast", "rvalid", "rready",
            "awid", "awaddr", "awlen", "awsize", "awburst", "awvalid", "awready",
            "wdata", "wstrb", "wlast", "wvalid", "wready", "bid", "bresp", "bvalid", "bready")}
        self._beat_bytes = self._pins["rdata"].width // 8
        self._ready: dict[str, int] = {}
        self.behave(preset=preset, latency=latency, stall=stall, interleave=interleave, rng=rng)
        self._accepted = {"ar": 0, "aw": 0}
        self._reads: dict[int, deque[_Burst]] = {}
        self._write_bursts: deque[_Burst] = deque()  # addresses whose data have not all come
        self._write_beats: deque[tuple[int, int, int]] = deque()  # data that have no address yet
        self._answers: dict[int, deque[_Burst]] = {}
        self._read_arrival, self._answer_arrival = Event(), Event()
        self._pins["rvalid"].set(0)
        self._pins["bvalid"].set(0)
        self._tasks = [
            cocotb.start_soon(task)
            for task in (
                self._addresses("ar"),
                self._addresses("aw"),
                self._read_data(),
                self._write_data(),
                self._responses(),
            )
        ]

    def behave(self, *, preset: Memory = IDEAL, latency: tuple[int, int] | None = None, stall: float = 0.0,
               interleave: bool = False, rng: random.Random | None = None) -> None:
        """Change the behaviour from here on; parameters as of the class."""
        latency = latency or (preset.latency, preset.latency)
        if not 1 <= latency[0] <= latency[1]:
            raise ValueError(f"latency must be two cycles 1 <= least <= most, not {latency!r}")
        if not 0.0 <= stall < 1.0:
            raise ValueError(f"stall must be a probability below 1, not {stall!r}")
        if rng is None and (latency[0] != latency[1] or stall or interleave):
            raise ValueError(f"rng must be given for random behaviour, not {rng!r}")
        self._spread, self._stall, self._interleave = latency[1] - latency[0], stall, interleave
        self._preset = replace(preset, latency=latency[0],
                               out_of_order=preset.out_of_order or interleave or self._spread > 0)
        self._rng = rng or random.Random(0)
        self.restart()

    def restart(self) -> None:
        """Forget the traffic, and begin the time of memory anew: what comes does not depend on what was."""
        self.traffic.clear()
        self._timing = Timing(self._preset, self._beat_bytes, start=self.cycle())
        for channel in ("ar", "aw", "w"):
            self._set_ready(channel, 1)

    def cycle(self) -> int:
        """Clock cycles since the simulation began."""
        return get_sim_time("step") // self._period

    @property
    def quiet(self) -> bool:
        """No transaction is open."""
        return not (any(self._reads.values()) or self._write_bursts or self._write_beats
                    or any(self._answers.values()))

    def traffic_of(self, ident: int) -> Traffic:
        """Where the bursts of an ID are counted."""
        return self.traffic

    def fail(self, message: str) -> None:
        """Called when the manager breaks a rule."""
        raise AssertionError(message)

    def stop(self) -> None:
        """Stop answering."""
        for task in self._tasks:
            task.cancel()

    # Receiving side: AR, AW and W differ in their payload only.

    async def _receive(self, channel: str, payload: list[Pin], take) -> None:
        """Accept transfers of ``channel`` for ever: check stability, call ``take`` with the payload."""
        valid = self._pins[f"{channel}valid"]
        get_valid, edge, rises = valid.get, self._edge, RisingEdge(valid.handle)
        getters = [pin.get for pin in payload]
        pending = None
        while True:
            if not get_valid():
                await rises
            await edge
            if get_valid():
                values = tuple(get() for get in getters)
                if pending is not None and values != pending:
                    self.fail(f"{channel}: payload changed from {_hex(pending)} to {_hex(values)} "
                              f"before it was taken")
                pending = None if self._ready[channel] else values
                if pending is None:
                    if channel == "w":
                        await NullTrigger()  # behind what the other channels take at this edge
                    take(*values)
            elif pending is not None:
                self.fail(f"{channel}: valid fell before {_hex(pending)} was taken")
                pending = None
            wanted = int(not self._stall or self._rng.random() >= self._stall)
            if wanted != self._ready[channel]:
                self._set_ready(channel, wanted)

    def _set_ready(self, channel: str, value: int) -> None:
        self._ready[channel] = value
        self._pins[f"{channel}ready"].set(value)

    async def _addresses(self, channel: str) -> None:
        pins = [self._pins[f"{channel}{name}"] for name in ("id", "addr", "len", "size", "burst")]
        take = self._take_read if channel == "ar" else self._take_write

        def accept(ident: int, address: int, length: int, size: int, kind: int) -> None:
            total = (length + 1) * self._beat_bytes
            where = f"{channel}: burst of {length + 1} beats at {address:#x}"
            if kind != _INCR:
                self.fail(f"{where} has burst type {kind}, expected INCR")
            if 1 << size != self._beat_bytes:
                self.fail(f"{where} has beats of {1 << size} of {self._beat_bytes} bytes")
            if address % self._beat_bytes:
                self.fail(f"{where} is not aligned to {self._beat_bytes} bytes")
            if address // _BOUNDARY != (address + total - 1) // _BOUNDARY:
                self.fail(f"{where} crosses a 4 KiB boundary")
            take(_Burst(self._accepted[channel], ident, address, length + 1), total)
            self._accepted[channel] += 1

        await self._receive(channel, pins, accept)

    def _arrival(self) -> int:
        """Cycle in which what comes now arrives at memory, given its random way."""
        return self.cycle() + (self._rng.randint(0, self._spread) if self._spread else 0)

    @staticmethod
    def _planned(errors: list[PlannedError], address: int, total: int) -> PlannedError | None:
        # Every planned error counts the burst, so no short cut.
        hits = [error for error in errors if error.take(address, total)]
        return hits[0] if hits else None

    # Read side.

    def _take_read(self, burst: _Burst, total: int) -> None:
        region = self.memory.find(burst.address, total)
        if region is None:
            burst.responses = [Response.DECERR] * burst.beats
            content = np.zeros(total, np.uint8)
        else:
            burst.responses = [Response.OKAY] * burst.beats
            content = region.data[burst.address - region.base:burst.address - region.base + total]
        error = self._planned(self.memory.read_errors, burst.address, total)
        if error is not None:
            hit = range(burst.beats) if error.beat is None else [range(burst.beats)[error.beat]]
            for beat in hit:
                burst.responses[beat] = error.response
        bits = np.unpackbits(content.reshape(burst.beats, self._beat_bytes)[:, ::-1])
        bits += ord("0")
        burst.digits = bits.tobytes().decode("ascii")
        burst.times = self._timing.read(burst.ident, burst.address, total, self._arrival())
        self._reads.setdefault(burst.ident, deque()).append(burst)
        self._read_arrival.set()

    def _next(self, queues: dict[int, deque[_Burst]]) -> _Burst | None:
        """The burst that answers next: the oldest of what is due, or with ``interleave`` any such."""
        following = self.cycle() + 1  # what is driven now is seen then
        due = [queue[0] for queue in queues.values() if queue and queue[0].times[queue[0].next] <= following]
        if not due or self.hold:
            return None
        return self._rng.choice(due) if self._interleave else min(due, key=lambda burst: burst.number)

    async def _read_data(self) -> None:
        rid, rdata, rresp, rlast = (self._pins[name] for name in ("rid", "rdata", "rresp", "rlast"))
        set_bits, set_valid, ready = rdata.set_bits, self._pins["rvalid"].set, self._pins["rready"].get
        edge, width = self._edge, rdata.width
        last = resp = -1
        turn = None  # the burst of the beat before, unless that was its last
        while True:
            burst = self._next(self._reads)
            if burst is None:
                set_valid(0)
                await self._wait(self._reads, self._read_arrival)
                continue
            rid.set(burst.ident)
            now, times = self.cycle(), burst.times
            if burst is not turn:
                if turn is not None:
                    self._count(turn)
                turn, burst.counted = burst, burst.next
            while burst.next < burst.beats and times[burst.next] <= now + 1:
                if self._stall and self._rng.random() < self._stall:
                    set_valid(0)
                    await edge
                    now += 1
                    continue
                if burst.next == burst.counted:
                    burst.first = now + 1
                set_bits(burst.digits[burst.next * width:(burst.next + 1) * width])
                if resp != burst.responses[burst.next]:
                    resp = burst.responses[burst.next]
                    rresp.set(int(resp))
                burst.next += 1
                if last != (burst.next == burst.beats):
                    last = burst.next == burst.beats
                    rlast.set(last)
                set_valid(1)
                await edge
                now += 1
                while not ready():
                    await edge
                    now += 1
                if self._interleave:
                    break
            burst.last = now
            if burst.next == burst.beats:
                self._reads[burst.ident].popleft()
                self._count(burst)
                turn = None

    def _count(self, burst: _Burst) -> None:
        """Note the beats that were on R together."""
        moved = (burst.next - burst.counted) * self._beat_bytes
        self.traffic_of(burst.ident).reads.append((burst.first, burst.last, moved))

    async def _wait(self, queues: dict[int, deque[_Burst]], arrival: Event) -> None:
        """Sleep until something can be driven: what waits in ``queues`` or, if nothing does, arrives. Returns at a
        clock edge, and may do so too early."""
        times = [queue[0].times[queue[0].next] for queue in queues.values() if queue]
        if self.hold:
            await self._edge
        elif not times:
            arrival.clear()
            await arrival.wait()
        else:
            # Not past the first cycle in which an answer to what arrives meanwhile could be due.
            cycles = min(min(times) - 1 - self.cycle(), self._preset.latency - self._preset.activate)
            if cycles > 1:
                await Timer(cycles * self._period - self._period // 2, "step")
            await self._edge

    # Write side.

    def _take_write(self, burst: _Burst, total: int) -> None:
        error = self._planned(self.memory.write_errors, burst.address, total)
        response = Response.OKAY if self.memory.find(burst.address, total) else Response.DECERR
        burst.responses = [response if error is None else error.response]
        self._write_bursts.append(burst)
        self._match()

    async def _write_data(self) -> None:
        def accept(data: int, strobe: int, last: int) -> None:
            self._write_beats.append((data, strobe, last))
            self._match()

        await self._receive("w", [self._pins[name] for name in ("wdata", "wstrb", "wlast")], accept)

    def _match(self) -> None:
        """Store the data that have both arrived and an address."""
        size = self._beat_bytes
        full = (1 << size) - 1
        while self._write_bursts and self._write_beats:
            burst = self._write_bursts[0]
            data, strobe, last = self._write_beats.popleft()
            if last != (burst.next == burst.beats - 1):
                self.fail(f"w: WLAST is {last} on beat {burst.next} of {burst.beats} "
                          f"of the burst at {burst.address:#x}")
            if burst.responses[0] == Response.OKAY:
                self.memory.write(burst.address + burst.next * size, data.to_bytes(size, "little"),
                                  None if strobe == full else strobe)
            if burst.next == 0:
                burst.first = self.cycle()
            burst.next += 1
            if last:
                burst.times = [self._timing.write(burst.ident, burst.address, burst.beats * size, self._arrival())]
                burst.next = 0
                self.traffic_of(burst.ident).writes.append((burst.first, self.cycle(), burst.beats * size))
                self._answers.setdefault(burst.ident, deque()).append(self._write_bursts.popleft())
                self._answer_arrival.set()

    async def _responses(self) -> None:
        set_valid, ready = self._pins["bvalid"].set, self._pins["bready"].get
        while True:
            burst = self._next(self._answers)
            if burst is None:
                set_valid(0)
                await self._wait(self._answers, self._answer_arrival)
            elif self._stall and self._rng.random() < self._stall:
                set_valid(0)
                await self._edge
            else:
                self._pins["bid"].set(burst.ident)
                self._pins["bresp"].set(int(burst.responses[0]))
                set_valid(1)
                await self._edge
                while not ready():
                    await self._edge
                self._answers[burst.ident].popleft()


def _hex(values) -> str:
    return "(" + ", ".join(f"{value:#x}" for value in values) + ")"
