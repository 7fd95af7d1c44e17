"""Bench of the sequencer: programs in memory against the stream of commands at each engine's queue."""

import os
import random
from collections import deque

import cocotb
from amla.rtl.isa import COMMAND_BYTES, GIVEN, HALFWORDS, INDEX_BITS, Engine, Fault, Opcode, reference
from amla.rtl.issue.sequencer import BYTES_AHEAD
from amla.sw.compiler.packing import pack
from amla.tb.signals import Pin
from amla.tb.stream import StreamDriver, StreamMonitor, reset, start_clock, until
from cocotb.triggers import FallingEdge, RisingEdge

BEAT = int(os.environ.get("BENCH_BEAT_BYTES", "16"))
BASE, SPACE = 0xC5_4000_0000, 1 << 40  # past 32 bits
AHEAD = BYTES_AHEAD // BEAT  # beats that the sequencer may have asked for and not used
DISPATCHED = [opcode for opcode in Opcode if opcode >> 4]


class Bench:
    """Program memory, queues and the semaphore port around the sequencer.

    Watched in every cycle: what is asked for ahead of its use fits the buffer, R is never held up, ``quiet`` is exact.
    """

    def __init__(self, dut, rng, *, stall=0.3):
        self.dut, self.rng = dut, rng
        self.latency = (1, 1)  # least and most cycles from a burst's address to its first beat
        self.hold = False  # answer nothing
        self.cycle = 0
        self.pushed: list[tuple[int, int, int]] = []  # engine, index, command, in order of arrival
        self.program, self.base = b"", BASE
        self.ends = [0]  # byte of the program at which the command of each index begins
        self.bad_beat: int | None = None
        self.bad_response = 2
        self.window = (0, 0)
        self.bursts: list[tuple[int, int]] = []
        self.due: deque[int] = deque()  # cycles in which the bursts not yet answered may be
        self.coming = self.arrived = self.most_coming = 0  # beats
        self.queues = [StreamMonitor(dut, f"push__{engine - 1}", dut.clk, rng=rng, stall=stall,
                                     callback=lambda payload, engine=engine: self._arrive(engine, payload))
                       for engine in Engine if engine]
        self.ar = StreamMonitor(dut, "axi__ar", dut.clk, rng=rng, stall=stall,
                                callback=lambda _: self.due.append(self.cycle + rng.randint(*self.latency)))
        self.r = StreamDriver(dut, "axi__r", dut.clk, rng=rng, stall=stall)
        names = ("start", "base", "length", "window_base", "window_limit", "halt", "quiet", "drained", "index",
                 "halted", "fault", "fault_code", "state", "semaphores__request", "semaphores__wait",
                 "semaphores__grant", "semaphores__strobe", "semaphores__signal", "rst",
                 "axi__ar__valid", "axi__ar__ready", "axi__ar__payload", "axi__r__valid", "axi__r__ready")
        self.pin = {name: Pin(dut, name) for name in names}
        for name in ("start", "halt", "semaphores__grant"):
            self.pin[name].set(0)
        self.pin["drained"].set(1)
        self.fences: list[tuple[int, int]] = []
        cocotb.start_soon(self._serve())
        cocotb.start_soon(self._watch())

    async def _watch(self):
        get = {name: pin.get for name, pin in self.pin.items()}
        while True:
            await RisingEdge(self.dut.clk)
            self.cycle += 1
            if get["rst"]():
                self.coming = self.arrived = 0
                continue
            valid = get["axi__ar__valid"]()
            assert get["quiet"]() == (not self.coming and not valid)
            if valid and get["axi__ar__ready"]():
                self.coming += (get["axi__ar__payload"]() >> 40) + 1
            self.most_coming = max(self.most_coming, self.coming)
            ahead = self.coming + self.arrived - self.ends[get["index"]()] // BEAT
            # The next command is out of the buffer, whole or in part.
            assert get["halt"]() or ahead <= AHEAD + _beats(COMMAND_BYTES), f"{ahead} beats, more than the buffer holds"
            if get["axi__r__valid"]():
                assert get["axi__r__ready"](), "the answer to a burst is held up"
                self.coming -= 1
                self.arrived += 1

    def _arrive(self, engine, payload):
        self.pushed.append((engine, payload & ((1 << INDEX_BITS) - 1), payload >> INDEX_BITS))

    async def _serve(self):
        """Answer the bursts in order."""
        address_bits = 40
        while True:
            await self.ar.wait(len(self.bursts) + 1)
            payload = self.ar.items[len(self.bursts)]
            address, beats = payload & ((1 << address_bits) - 1), (payload >> address_bits) + 1
            self.bursts.append((address, beats))
            assert self.window[0] <= address and address + beats * BEAT <= self.window[1], "outside the window"
            due = self.due.popleft()
            while self.hold or self.cycle < due:
                await RisingEdge(self.dut.clk)
            for beat in range(beats):
                offset = address - self.base + beat * BEAT
                word = int.from_bytes(self.program[offset:offset + BEAT].ljust(BEAT, b"\xee"), "little")
                response = self.bad_response if offset // BEAT == self.bad_beat else 0
                await self.r.send(word | response << 8 * BEAT | (beat == beats - 1) << (8 * BEAT + 2))

    async def run(self, commands, *, packed=False, length=None, base=BASE, window=None, cycles=60_000, pace=None):
        """Start the program at ``base``; return "halted" or the fault code.

        Commands give all their halfwords unless ``packed``. Semaphores are granted in every ``pace``-th cycle, at
        random without.
        """
        self.program, self.ends = _binary(commands, packed=packed)
        length = len(self.program) // 2 if length is None else length
        low, high = window or (base, base + _beats(2 * length) * BEAT)
        self.base, self.window = base, (low, high)
        for name, value in (("base", base), ("length", length), ("window_base", low), ("window_limit", high)):
            self.pin[name].set(value)
        self.pin["start"].set(1)
        await RisingEdge(self.dut.clk)
        self.pin["start"].set(0)
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
            assert self.pin["state"].get().bit_count() == 1
            # The semaphore unit answers in the same cycle, sometimes.
            turn = self.cycle % pace == 0 if pace else self.rng.random() < 0.3
            grant = self.pin["semaphores__request"].get() and turn
            self.pin["semaphores__grant"].set(int(grant))
            if grant:
                self.fences.append((self.pin["semaphores__wait"].get(), self.pin["semaphores__signal"].get()))
            if self.pin["fault"].get():
                return Fault(self.pin["fault_code"].get())
            if self.pin["halted"].get():
                return "halted"
            await RisingEdge(self.dut.clk)
            self.pin["semaphores__grant"].set(0)
        raise AssertionError(f"neither HALT nor fault in {cycles} cycles, index {self.pin['index'].get()}")


def _beats(size):
    return -(-size // BEAT)


def _binary(commands, *, packed):
    """The program, and where each command begins and the last one ends."""
    if not packed:
        return (b"".join(command.to_bytes(COMMAND_BYTES, "little") for command in commands),
                [COMMAND_BYTES * index for index in range(len(commands) + 1)])
    halfwords, ends, at = pack(commands), [0], 0
    for _ in commands:
        at += 2 + int(halfwords[at + 1]).bit_count()
        ends.append(2 * at)
    return halfwords.tobytes(), ends


def _whole(opcode, bits=0):
    """A command that gives all its halfwords, its flags and the rest random."""
    word = opcode | bits << 8
    return word & ~(0xFFFF << 16) | (1 << GIVEN) - 1 << 16


def _program(rng, count):
    """Commands at random; of many only a few halfwords differ from the last of their reference."""
    commands: list[int] = []
    last: dict[int, int] = {}
    for _ in range(count):
        opcode = rng.choice([*DISPATCHED, Opcode.FENCE]) if rng.random() < 0.9 else Opcode.FENCE
        command = _whole(opcode, rng.getrandbits(248))
        before = last.get(reference(command & 0xFFFF), 0)
        if rng.random() < 0.8:
            keep = sum(0xFFFF << 16 * i for i in range(2, HALFWORDS) if rng.random() < 0.8)
            command = command & ~keep | before & keep
        last[reference(command & 0xFFFF)] = command
        commands.append(command)
    return [*commands, _whole(Opcode.HALT, rng.choice((0, rng.getrandbits(56))))]


def _check(bench, commands):
    expected = [(command & 0xFF) >> 4 for command in commands]
    for engine in Engine:
        if engine == Engine.SEQUENCER:
            continue
        mine = [(index, command) for e, index, command in bench.pushed if e == engine]
        assert mine == [(i, command) for i, command in enumerate(commands) if expected[i] == engine], engine.name
    fences = [(command >> 32 & 0xFFFF, command >> 48 & 0xFFFF) for command in commands
              if command & 0xFF in (Opcode.FENCE, Opcode.HALT)]
    assert bench.fences == fences


@cocotb.test()
async def delivers_programs(dut):
    """Programs of 1 to 100 commands, one after another, some up to the end of the address space, with random pauses."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    bench = Bench(dut, rng)
    await reset(dut)
    for count in (0, 1, 2, 3, 100, *(rng.randrange(60) for _ in range(8))):
        commands = _program(rng, count)
        bench.pushed.clear()
        bench.fences.clear()
        bench.latency = rng.choice(((1, 1), (1, 100), (1, 1000)))
        packed = rng.random() < 0.7
        size = len(_binary(commands, packed=packed)[0])
        within = BASE + rng.randrange(4096 // BEAT) * BEAT  # the program crosses pages, its bursts may not
        base = rng.choice((within, SPACE - _beats(size) * BEAT)) if count else SPACE - _beats(size) * BEAT
        assert await bench.run(commands, packed=packed, base=base) == "halted"
        await until(dut, bench.pin["quiet"].get, "quiet")
        _check(bench, commands)
        for address, beats in bench.bursts:
            assert address // 4096 == (address + beats * BEAT - 1) // 4096, "burst crosses 4 KiB"
        await reset(dut)


@cocotb.test()
async def waits_for_drained_engines(dut):
    """FENCE and HALT wait until every engine queue is empty."""
    start_clock(dut)
    bench = Bench(dut, random.Random(cocotb.RANDOM_SEED), stall=0.0)
    await reset(dut)
    bench.pin["drained"].set(0)
    task = cocotb.start_soon(bench.run([_whole(opcode) for opcode in (
        Opcode.MMAD, Opcode.FENCE, Opcode.MMAD, Opcode.HALT)], packed=True))
    for _ in range(200):
        await RisingEdge(dut.clk)
    assert len(bench.pushed) == 1 and not bench.fences and bench.pin["index"].get() == 1
    bench.pin["drained"].set(1)
    assert await task == "halted" and len(bench.pushed) == 2


@cocotb.test()
async def reports_faults_at_their_command(dut):
    """Unknown opcodes, a missing HALT, a short window, error responses: code and index; nothing past it is pushed."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    bench = Bench(dut, rng)
    most_coming = []
    for case in range(64):
        await reset(dut)
        bench.pushed.clear()
        bench.fences.clear()
        bench.bad_beat = None
        bench.latency, bench.most_coming = rng.choice(((1, 1), (1, 100), (1, 1000))), 0
        commands = _program(rng, 100)
        at = rng.randrange(100)
        kind, packed = case % 8, case // 8 % 2 == 1
        if kind == 0:
            commands[at] = commands[at] & ~0xFF | rng.choice([0, 0x03, 0x12, 0x22, 0x61, 0x70, 0xFF])
        ends = _binary(commands, packed=packed)[1]

        def whole(beats, ends=ends):
            """Commands that lie in the first beats."""
            return sum(end <= beats * BEAT for end in ends[1:])

        if kind == 0:
            assert await bench.run(commands, packed=packed) == Fault.UNKNOWN_OPCODE
        elif kind == 1:
            length = (ends[at] + rng.randrange(0, ends[at + 1] - ends[at], 2)) // 2
            assert await bench.run(commands, packed=packed, length=length) == Fault.TRUNCATED_PROGRAM
        elif kind == 2:
            end = BASE + ends[at]
            assert await bench.run(commands, packed=packed, window=(BASE, end)) == Fault.READ_WINDOW
            at = whole((end - BASE) // BEAT)
        elif kind == 3:
            beats = min(_beats(ends[at]), _beats(ends[-1]) - 1)  # short commands at the end may share a beat
            base = SPACE - beats * BEAT
            assert await bench.run(commands, packed=packed, base=base, window=(BASE, SPACE)) == Fault.READ_WINDOW
            at = whole(beats)
        elif kind == 4:
            at = 0
            assert await bench.run(commands, packed=packed, base=SPACE, window=(BASE, SPACE)) == Fault.READ_WINDOW
        elif kind == 5:
            at = 0
            assert await bench.run(commands, packed=packed, base=BASE + 1, window=(SPACE, SPACE)) == Fault.BAD_FIELD
        else:
            bench.bad_beat, bench.bad_response = ends[at] // BEAT, kind - 4
            at = whole(bench.bad_beat)
            code = Fault.READ_SLVERR if kind == 6 else Fault.READ_DECERR
            assert await bench.run(commands, packed=packed) == code
            most_coming.append(bench.most_coming / _beats(ends[-1]))
        assert bench.pin["index"].get() == at, f"case {case}: index {bench.pin['index'].get()}, expected {at}"
        # What was fetched before the fault has been handed over; wait for stalled queues.
        assert {index for _, index, _ in bench.pushed} == {i for i in range(at) if commands[i] & 0xF0}
        bench.pin["halt"].set(1)
        await RisingEdge(dut.clk)
        await until(dut, bench.pin["quiet"].get, "quiet")
        for _ in range(20):
            await RisingEdge(dut.clk)
        bench.pin["halt"].set(0)
    assert max(most_coming) > 0.5, "no error had much else in flight"


@cocotb.test()
async def as_far_ahead_as_the_buffer_holds(dut):
    """Memory that does not answer is asked for as many beats as the buffer holds, and no more until it does."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    bench = Bench(dut, rng)
    for offset in (0, rng.randrange(1, 8)):
        await reset(dut)
        bench.pushed.clear()
        bench.fences.clear()
        bench.hold = True
        commands = _program(rng, 3 * BYTES_AHEAD // COMMAND_BYTES)
        task = cocotb.start_soon(bench.run(commands, base=BASE + offset * BEAT))
        for _ in range(8 * AHEAD):
            await RisingEdge(dut.clk)
        assert bench.coming == AHEAD - offset, f"{bench.coming} of {AHEAD} beats asked for"
        bench.hold = False
        assert await task == "halted"
        _check(bench, commands)


@cocotb.test()
async def latency_is_not_seen(dut):
    """At 1,000 cycles latency only the first command comes late, at the pace that the buffer allows."""
    start_clock(dut)
    bench = Bench(dut, random.Random(cocotb.RANDOM_SEED), stall=0.0)
    bench.latency = 1000, 1000
    await reset(dut)
    pace = 1 + 1010 // ((BYTES_AHEAD - 8 * BEAT) // COMMAND_BYTES)  # the buffer less a burst that has to fit
    commands = [_whole(Opcode.FENCE)] * (4 * BYTES_AHEAD // COMMAND_BYTES) + [_whole(Opcode.HALT)]
    before = bench.cycle
    assert await bench.run(commands, pace=pace) == "halted"
    late = bench.cycle - before - pace * len(commands)
    assert 1000 - pace <= late <= 1012 + HALFWORDS, f"{late} cycles late at a command every {pace} cycles"
