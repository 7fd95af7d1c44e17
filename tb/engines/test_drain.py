"""Bench of the drain engine: random DRAIN_S and DRAIN_O against the golden operators, cycle by cycle."""

import random
from collections.abc import Callable
from functools import cache, reduce

import cocotb
import numpy as np
from amla.model.attention.accumulate import accumulate
from amla.model.fp.maximum import maximum
from amla.rtl.isa import Fault, Opcode
from amla.rtl.softmax.lanes import AccumulateLane

from ..memory import SyncMemory
from ..signals import Pin
from ..stream import start_clock
from .harness import Command, EngineBench, bench_config, encode, pack, unpack
from .timing import drain_timeline
from .wraps import wraps

CONFIG = bench_config()
GROUPS = CONFIG.n // CONFIG.lanes
LANE_LATENCY = AccumulateLane(mode=CONFIG.mode, comp_bits=CONFIG.comp_bits).latency
NEGATIVE_INFINITY = np.uint32(0xFF800000)
# Words that fdpa can produce: no subnormals, one NaN.
SPECIAL_FP32 = (0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0x00800000)
WORDS = {"s": CONFIG.s_words, "o": CONFIG.o_words}


def random_fp32(rng: random.Random, shape: tuple[int, ...], *, special: float) -> np.ndarray:
    """Numbers of close exponents, with some special words among them."""
    words = [rng.choice(SPECIAL_FP32) if rng.random() < special
             else rng.getrandbits(1) << 31 | rng.randint(120, 134) << 23 | rng.getrandbits(23)
             for _ in range(int(np.prod(shape)))]
    return np.array(words, np.uint32).reshape(shape)


def random_offsets(rng: random.Random) -> np.ndarray:
    """Row offsets: scaling by small and by huge powers of two, up and down; factors in mode ``mul``."""
    shape = (CONFIG.m, 1 << CONFIG.comp_bits)
    if CONFIG.mode == "mul":
        return random_fp32(rng, shape, special=0.05)
    words = [(rng.choice([0, -1, -3, -60, -255, 4, 200]) << 23) + rng.randrange(-2**17, 2**17)
             for _ in range(shape[0] * shape[1])]
    return np.array(words, np.int64).astype(np.int32).view(np.uint32).reshape(shape)


class DrainModel:
    """The drain's buffers, those that it writes as the commands made so far leave them."""

    def __init__(self, dut, rng: random.Random, *, special: float = 0.02):
        self.rng = rng
        m, n, lanes, rows = CONFIG.m, CONFIG.n, CONFIG.lanes, CONFIG.state_words
        self.l0c = [pack(random_fp32(rng, (m, n), special=special)) for _ in range(CONFIG.l0c_words)]
        self.offsets = [pack(random_offsets(rng)) for _ in range(rows)]
        self.state = {
            "s": [rng.getrandbits(m * lanes * 32) for _ in range(CONFIG.s_words)],
            "o": [pack(random_fp32(rng, (m, lanes), special=special)) for _ in range(CONFIG.o_words)],
            "rowmax": [pack(random_fp32(rng, (m,), special=special)) for _ in range(rows)],
        }
        self.l0c_memory = SyncMemory(dut, "l0c", CONFIG.l0c_words, width=m * n * 32, holds=False, storage=self.l0c)
        self.offsets_memory = SyncMemory(dut, "offsets", rows, width=m * 32 << CONFIG.comp_bits,
                                         storage=self.offsets)
        self.buffers = {
            "s": SyncMemory(dut, (), CONFIG.s_words, width=m * lanes * 32, writes="s",
                            storage=list(self.state["s"])),
            "o": SyncMemory(dut, "o_read", CONFIG.o_words, width=m * lanes * 32, writes="o_write",
                            holds=False, storage=list(self.state["o"])),
            "rowmax": SyncMemory(dut, "rowmax_read", rows, width=m * 32, writes="rowmax_write",
                                 storage=list(self.state["rowmax"])),
        }
        self.reads = {"l0c": 0, "offsets": 0, "o": 0, "rowmax": 0}  # that the commands made so far need

    def adopt(self) -> None:
        """Take over the words that a command at fault has left, and the reads."""
        for name, memory in self.buffers.items():
            self.state[name][:] = memory.storage
        self.reads = self.reads_done()

    def reads_done(self) -> dict[str, int]:
        return {"l0c": self.l0c_memory.reads_done, "offsets": self.offsets_memory.reads_done,
                "o": self.buffers["o"].reads_done, "rowmax": self.buffers["rowmax"].reads_done}

    def command(self, opcode: Opcode, *flags: str, **fields: int) -> Command:
        """The command, its writes and its items, up to the first access out of range."""
        command = Command(encode(opcode, *flags, **fields))
        mt, nt, first = fields["mt"], fields["nt"], "first" in flags
        name, row_name = ("s", "rowmax") if opcode == Opcode.DRAIN_S else ("o", "offsets")
        if not mt or not nt:
            command.fault = Fault.BAD_FIELD
            return command
        items: list[tuple[int, int, str, int, bool]] = []
        command.items = items
        for mi in range(mt):
            row = fields[row_name] + mi
            for index in range(nt * GROUPS):
                ni, group = divmod(index, GROUPS)
                fractal = fields["l0c"] + mi * nt + ni
                target = fields[name] + mi * fields[f"{name}_pitch"] + index
                row_used = opcode == Opcode.DRAIN_S or not first
                if (fractal >= CONFIG.l0c_words or target >= WORDS[name]
                        or (row_used and row >= CONFIG.state_words)):
                    command.fault = Fault.BUFFER_OVERRUN
                    return command
                self.reads["l0c"] += group == 0
                scores = unpack(self.l0c[fractal], np.uint32, (CONFIG.m, CONFIG.n))
                scores = scores[:, group * CONFIG.lanes:(group + 1) * CONFIG.lanes]
                if opcode == Opcode.DRAIN_O:
                    self.reads["o"] += not first
                    self.reads["offsets"] += not first and index == 0
                    word = self.accumulate(target, scores, row, first=first)
                    items.append((len(items), fractal, "o", target, not first))
                else:
                    self.reads["rowmax"] += not first and index == 0
                    word = pack(scores)
                    items.append((len(items), fractal, "s", row, index == 0 and not first))
                self.state[name][target] = command.writes[name, target] = word
            if opcode == Opcode.DRAIN_S:
                word = self.row_maxima(mi, first=first, **fields)
                self.state["rowmax"][row] = command.writes["rowmax", row] = word
        return command

    def accumulate(self, target: int, scores: np.ndarray, row: int, *, first: bool) -> int:
        """The O word after the drain of ``scores``."""
        o = unpack(self.state["o"][target], np.uint32, (CONFIG.m, CONFIG.lanes)).copy()
        row = min(row, CONFIG.state_words - 1)  # not used with `first`
        offsets = unpack(self.offsets[row], np.uint32, (CONFIG.m, 1 << CONFIG.comp_bits))
        accumulate(o, np.ascontiguousarray(scores), offsets, first=first, mode=CONFIG.mode,
                   comp_bits=CONFIG.comp_bits)
        return pack(o)

    def row_maxima(self, mi: int, *, first: bool, l0c: int, nt: int, rowmax: int, limit: int, heads: int,
                   head0: int, **_) -> int:
        """The ROWMAX word after row group ``mi``."""
        fractals = [unpack(self.l0c[l0c + mi * nt + ni], np.uint32, (CONFIG.m, CONFIG.n)) for ni in range(nt)]
        scores = np.concatenate(fractals, axis=1)
        former = unpack(self.state["rowmax"][rowmax + mi], np.uint32, (CONFIG.m,))
        maxima = []
        for i in range(CONFIG.m):
            tokens = min(15, (mi * CONFIG.m + i + head0) // heads) if heads else 0
            valid = scores[i, :max(0, limit + tokens)]
            maxima.append(reduce(maximum, valid, NEGATIVE_INFINITY if first else former[i]))
        return pack(np.array(maxima, np.uint32))

    def random_command(self, *, size: int = 4) -> Command:
        """A legal command of at most size x size fractals; rows of words may overlap (a pitch too small)."""
        rng = self.rng
        opcode = rng.choice([Opcode.DRAIN_S, Opcode.DRAIN_O])
        name, row_name = ("s", "rowmax") if opcode == Opcode.DRAIN_S else ("o", "offsets")
        mt = rng.randint(1, min(size, CONFIG.state_words))
        nt = rng.randint(1, min(size, WORDS[name] // (mt * GROUPS)))
        room = WORDS[name] - nt * GROUPS
        pitch = rng.randrange(1 << 16)  # with one row group it must not matter
        if mt > 1:
            pitch = rng.choice([nt * GROUPS, rng.randint(0, room // (mt - 1))])
            room -= pitch * (mt - 1)
        places = {"l0c": CONFIG.l0c_words - mt * nt, name: room, row_name: CONFIG.state_words - mt}
        fields = {place: rng.choice([0, free, rng.randint(0, free)]) for place, free in places.items()}
        fields |= {"mt": mt, "nt": nt, f"{name}_pitch": pitch}
        if opcode == Opcode.DRAIN_S:
            fields |= self.random_mask(nt * CONFIG.n)
        return self.command(opcode, *rng.choice([(), ("first",)]), **fields)

    def random_mask(self, columns: int) -> dict[str, int]:
        rng = self.rng
        return {"limit": rng.choice([rng.randint(-3, columns + 1), columns, -2**23, 2**23 - 1]),
                "heads": rng.choice([0, 1, 2, 3, 5, 65535]), "head0": rng.choice([0, 1, 4, rng.randint(0, 60), 65535])}


class Taken:
    """Banks that other readers take: (buffer, bank, cycle) is in it, and the pins say so in that cycle.

    Parameters
    ----------
    dut:     top level
    pattern: (buffer, cycle) -> the banks taken, a bit each
    """

    def __init__(self, dut, pattern: Callable[[str, int], int]):
        self._pins = {name: Pin(dut, f"{name}_taken") for name in ("l0c", "o")}
        self._pattern = pattern

    def __contains__(self, place: object) -> bool:
        assert isinstance(place, tuple)
        buffer, bank, cycle = place
        return bool(self._pattern(buffer, cycle) >> bank & 1)

    def apply(self, cycle: int) -> None:
        for name, pin in self._pins.items():
            pin.set(self._pattern(name, cycle))


def bench(dut, *, pattern: Callable[[str, int], int] = lambda buffer, cycle: 0,
          **options) -> tuple[EngineBench, DrainModel, random.Random]:
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    model = DrainModel(dut, rng, **options)
    taken = Taken(dut, pattern)
    return EngineBench(dut, model.buffers, lambda: drain_timeline(CONFIG, taken), taken.apply), model, rng


def streams(buffer: str, cycle: int) -> int:
    """Readers that go from word to word without a gap, as cube and vector do."""
    return 1 << cycle % 2


def random_pattern(seed: int) -> Callable[[str, int], int]:
    """Stretches of up to 64 cycles in which each bank is taken at random, with a share of its own."""
    @cache
    def banks(buffer: str, cycle: int) -> int:
        share = random.Random(f"{seed}/{buffer}/{cycle // 64}").choice([0, 0.2, 0.5, 0.8, 0.97])
        rng = random.Random(f"{seed}/{buffer}/{cycle}")
        return sum((rng.random() < share) << bank for bank in range(2))

    return banks


@cocotb.test()
async def back_to_back(dut):
    """Random commands without a gap; every fractal of L0C and every word of the state is read just once."""
    engine, model, _ = bench(dut)
    commands = [model.random_command() for _ in range(300)]
    await engine.run(commands)
    assert engine.finished == len(commands)
    assert model.reads_done() == model.reads


@cocotb.test()
async def with_pauses(dut):
    """Random commands with random gaps."""
    engine, model, rng = bench(dut)
    await engine.run([model.random_command() for _ in range(200)], pause=lambda: rng.choice([0, 0, 1, 3, 12]))


@cocotb.test()
async def banks_taken_at_random(dut):
    """Random commands while other readers take banks of L0C and O at random; no word is read twice."""
    engine, model, rng = bench(dut, pattern=random_pattern(cocotb.RANDOM_SEED))
    await engine.run([model.random_command() for _ in range(200)], pause=lambda: rng.choice([0, 0, 0, 1, 9]))
    assert model.reads_done() == model.reads


@cocotb.test()
async def banks_taken_for_long(dut):
    """One bank of L0C or O is free in one cycle of fifty: the drain takes it then, and no other word."""
    engine, model, _ = bench(dut, pattern=lambda buffer, cycle: 0 if cycle % 50 == (7 if buffer == "o" else 0) else 3)
    await engine.run([model.random_command(size=2) for _ in range(20)], settle=100)
    assert model.reads_done() == model.reads


@cocotb.test()
async def special_values(dut):
    """NaN, infinities and zeros everywhere."""
    engine, model, _ = bench(dut, special=0.4)
    await engine.run([model.random_command() for _ in range(100)])


@cocotb.test()
async def smallest_commands(dut):
    """Single fractals over and over on a few words of O and ROWMAX: every read follows a write in flight."""
    engine, model, rng = bench(dut)
    commands = []
    for _ in range(200):
        place = {"l0c": rng.randrange(CONFIG.l0c_words), "mt": 1, "nt": 1}
        flags = rng.choice([(), (), (), ("first",)])
        commands.append(
            model.command(Opcode.DRAIN_S, *flags, s=rng.randint(0, 2), s_pitch=0, rowmax=rng.randint(0, 1),
                          **place, **model.random_mask(CONFIG.n)) if rng.random() < 0.5 else
            model.command(Opcode.DRAIN_O, *flags, o=rng.randint(0, 1), o_pitch=0, offsets=rng.randint(0, 2),
                          **place))
    await engine.run(commands)


@cocotb.test()
async def lane_group_every_cycle(dut):
    """Large disjoint commands of both kinds follow each other without a lost cycle."""
    await stream(dut, lost=0)


@cocotb.test()
async def lane_group_every_cycle_beside_streams(dut):
    """The same beside readers that take the banks of L0C and of O in turn: two lost cycles a command at most,
    where a row of words starts in the bank that the other reader comes to."""
    await stream(dut, lost=16, pattern=streams)


async def stream(dut, *, lost: int, **options) -> None:
    """Eight commands of two row groups take a cycle per lane group and at most ``lost`` more."""
    engine, model, _ = bench(dut, **options)
    nt = CONFIG.o_words // 4 // GROUPS
    pitch = nt * GROUPS
    commands = []
    for index in range(4):
        commands += [
            model.command(Opcode.DRAIN_S, l0c=0, mt=2, nt=nt, s=0, s_pitch=pitch, rowmax=index % 2 * 2,
                          limit=nt, heads=0, head0=0),
            model.command(Opcode.DRAIN_O, l0c=0, mt=2, nt=nt, o=index % 2 * 2 * pitch, o_pitch=pitch,
                          offsets=0),
        ]
    groups = sum(len(command.items) for command in commands)
    last = await engine.run(commands)
    # The edge of the reset, the acceptance, and the pipeline.
    assert last <= groups + max(LANE_LATENCY, 3) + 5 + lost, f"{last} cycles for {groups} lane groups"


def faults():
    """Opcodes, flags and fields of commands at fault."""
    mask = {"limit": 3, "heads": 2, "head0": 1}
    for opcode, name, row_name, more in ((Opcode.DRAIN_S, "s", "rowmax", mask),
                                         (Opcode.DRAIN_O, "o", "offsets", {})):
        fine = {"l0c": 0, "mt": 2, "nt": 2, name: 0, f"{name}_pitch": 2 * GROUPS, row_name: 0, **more}
        words = {"l0c": (CONFIG.l0c_words, 4), name: (WORDS[name], 4 * GROUPS),
                 row_name: (CONFIG.state_words, 2)}
        for count in ("mt", "nt"):
            yield opcode, (), fine | {count: 0}
            yield opcode, (), fine | {count: 65535}
        for place, (depth, used) in words.items():
            for start in (depth - used + 1, depth - 1, depth, 65535, *wraps(depth, 16)):
                yield opcode, (), fine | {place: start}
                if place != "offsets":
                    yield opcode, ("first",), fine | {place: start}
        yield opcode, (), fine | {f"{name}_pitch": WORDS[name]}
        yield opcode, (), fine | {f"{name}_pitch": 65535}
        last = WORDS[name] - 2 * GROUPS  # of row group 0
        for pitch in wraps(WORDS[name], 16, base=last):
            yield opcode, (), fine | {name: last, f"{name}_pitch": pitch}


@cocotb.test()
async def faults_stop_the_engine(dut):
    """Every fault, behind zero to three legal commands, a legal one behind it; then a clean start."""
    engine, model, rng = bench(dut)
    for opcode, flags, fields in faults():
        before = [model.random_command() for _ in range(rng.randint(0, 3))]
        faulty = model.command(opcode, *flags, **fields)
        assert faulty.fault
        await engine.run([*before, faulty, model.random_command()])
        model.adopt()
        await engine.run([model.random_command()])
    assert model.reads_done() == model.reads


@cocotb.test()
async def first_needs_no_offsets(dut):
    """DRAIN_O with ``first`` reads no OFFSETS, so their place may be anywhere."""
    engine, model, _ = bench(dut)
    await engine.run([model.command(Opcode.DRAIN_O, "first", l0c=0, mt=2, nt=1, o=0, o_pitch=GROUPS,
                                    offsets=65535)])
    assert model.reads_done() == model.reads
