"""Bench of the cube engine: random MMAD against the golden ``fdpa``, each wait of the interlock predicted."""

import random

import cocotb
import numpy as np
from amla.model.fp.fdpa import fdpa_word
from amla.model.fp.formats import BF16, Format
from amla.model.numerics import Numerics
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.isa import FLAGS, Fault, Opcode
from cocotb.triggers import RisingEdge

from ..memory import SyncMemory
from ..signals import Pin
from ..stream import start_clock
from .harness import Command, EngineBench, bench_config, encode, pack, unpack
from .timing import cube_timeline
from .wraps import wraps

CONFIG = bench_config()
P_FORMAT = Numerics(p_format=CONFIG.p_format).format_of_p(BF16)
#: Special words of BF16 and, the last, of U6.10.
SPECIAL = (0x0000, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0x0001, 0x7F7F, 0x0080, 0xFC00, 0x03FF)


def random_bf16(rng: random.Random, count: int, *, special: float) -> np.ndarray:
    """Numbers of close exponents, so that sums cancel and round, with some special words among them."""
    words = [rng.getrandbits(1) << 15 | rng.randint(118, 132) << 7 | rng.getrandbits(7) for _ in range(count)]
    words = [rng.choice(SPECIAL) if rng.random() < special else word for word in words]
    return np.array(words, np.uint16)


class CubeModel:
    """L0A, L0B and L0C, the last as the commands made so far leave it."""

    def __init__(self, dut, rng: random.Random, *, special: float = 0.01):
        self.rng = rng
        m, n, k = CONFIG.m, CONFIG.n, CONFIG.k
        self.l0a = [pack(random_bf16(rng, m * k, special=special)) for _ in range(CONFIG.l0a_words)]
        self.l0b = [pack(random_bf16(rng, n * k, special=special)) for _ in range(CONFIG.l0b_words)]
        # Earlier content of L0C: the words of dot products.
        self.l0c = [pack(random_bf16(rng, m * n, special=special).astype(np.uint32) << 16)
                    for _ in range(CONFIG.l0c_words)]
        SyncMemory(dut, "l0a", CONFIG.l0a_words, width=m * k * 16, storage=self.l0a)
        SyncMemory(dut, "l0b", CONFIG.l0b_words, width=n * k * 16, storage=self.l0b)
        self.buffers = {"l0c": SyncMemory(dut, "l0c_read", CONFIG.l0c_words, width=m * n * 32,
                                          writes="l0c_write", holds=False, storage=list(self.l0c))}

    def multiply(self, a: int, b: int, c: int, a_format: Format) -> int:
        """The L0C word of one fractal triple."""
        m, n, k = CONFIG.m, CONFIG.n, CONFIG.k
        rows, columns = unpack(a, np.uint16, (m, k)), unpack(b, np.uint16, (n, k))
        words = unpack(c, np.uint32, (m, n))
        return pack(np.array([[fdpa_word(rows[i], columns[j], words[i, j], CONFIG.acc_frac_bits,
                                         a_format=a_format)
                               for j in range(n)] for i in range(m)], np.uint32))

    def command(self, *flags: str, **fields: int) -> Command:
        """The command, its writes and its items, up to the first access out of range."""
        command = Command(encode(Opcode.MMAD, *flags, **fields))
        mt, nt, kt = fields["mt"], fields["nt"], fields["kt"]
        if not mt or not nt or not kt:
            command.fault = Fault.BAD_FIELD
            return command
        items: list[tuple[int, bool]] = []
        command.items = items
        for ki in range(kt):
            for mi in range(mt):
                for ni in range(nt):
                    a, b, c = (fields["l0a"] + ki * mt + mi, fields["l0b"] + ki * nt + ni,
                               fields["l0c"] + mi * nt + ni)
                    if a >= CONFIG.l0a_words or b >= CONFIG.l0b_words or c >= CONFIG.l0c_words:
                        command.fault = Fault.BUFFER_OVERRUN
                        return command
                    reads = ki > 0 or "accumulate" in flags
                    old = self.l0c[c] if reads else 0
                    self.l0c[c] = command.writes["l0c", c] = self.multiply(
                        self.l0a[a], self.l0b[b], old, P_FORMAT if "weights" in flags else BF16)
                    items.append((c, reads))
        return command

    def random_command(self, *, tile: int = 4, depth: int = 5) -> Command:
        """A legal command of at most tile x tile x depth fractals."""
        rng = self.rng
        mt, nt = rng.randint(1, tile), rng.randint(1, tile)
        kt = rng.randint(1, min(depth, CONFIG.l0a_words // mt, CONFIG.l0b_words // nt))
        room = {"l0a": CONFIG.l0a_words - mt * kt, "l0b": CONFIG.l0b_words - nt * kt,
                "l0c": CONFIG.l0c_words - mt * nt}
        place = {name: rng.choice([0, free, rng.randint(0, free)]) for name, free in room.items()}
        flags = [flag for flag in FLAGS[Opcode.MMAD] if rng.random() < 0.5]
        return self.command(*flags, mt=mt, nt=nt, kt=kt, **place)


def bench(dut, **options) -> tuple[EngineBench, CubeModel, random.Random]:
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    model = CubeModel(dut, rng, **options)
    return EngineBench(dut, model.buffers, lambda: cube_timeline(CONFIG)), model, rng


async def count_active(dut, counts: list[int]) -> None:
    active, edge = Pin(dut, "active"), RisingEdge(dut.clk)
    while True:
        await edge
        counts[0] += active.get()


@cocotb.test()
async def back_to_back(dut):
    """Random commands without a gap; CUBE_ACTIVE counts their triples."""
    engine, model, _ = bench(dut)
    counts = [0]
    cocotb.start_soon(count_active(dut, counts))
    commands = [model.random_command() for _ in range(150)]
    await engine.run(commands)
    assert engine.finished == len(commands)
    assert counts[0] == sum(len(command.items) for command in commands)


@cocotb.test()
async def with_pauses(dut):
    """Random commands with random gaps."""
    engine, model, rng = bench(dut)
    await engine.run([model.random_command() for _ in range(100)], pause=lambda: rng.choice([0, 0, 1, 3, 12]))


@cocotb.test()
async def special_values(dut):
    """NaN, infinities, zeros and subnormals everywhere."""
    engine, model, _ = bench(dut, special=0.3)
    await engine.run([model.random_command() for _ in range(60)])


@cocotb.test()
async def smallest_tiles(dut):
    """One or two words of L0C at a time: every triple meets the interlock or the table of commands."""
    engine, model, rng = bench(dut)
    commands = []
    for _ in range(120):
        mt, nt = rng.choice([(1, 1), (1, 1), (1, 2), (2, 1)])
        commands.append(model.command(
            *rng.choice([(), ("accumulate",)]), mt=mt, nt=nt, kt=rng.randint(1, 4), l0a=rng.randint(0, 4),
            l0b=rng.randint(0, 4), l0c=rng.randint(0, 2)))
    await engine.run(commands)


@cocotb.test()
async def one_triple_commands(dut):
    """One triple each, on different words: only the table of unfinished commands holds them up."""
    engine, model, _ = bench(dut)
    await engine.run([model.command(mt=1, nt=1, kt=1, l0a=0, l0b=0, l0c=index % CONFIG.l0c_words)
                      for index in range(60)])


@cocotb.test()
async def whole_tiles_never_wait(dut):
    """Tiles larger than the pipeline, on alternating halves of L0C: a triple in every cycle."""
    engine, model, _ = bench(dut)
    half = CONFIG.l0c_words // 2
    commands = [model.command(mt=4, nt=4, kt=5, l0a=0, l0b=0, l0c=index % 2 * half) for index in range(6)]
    triples = sum(len(command.items) for command in commands)
    last = await engine.run(commands)
    # The edge of the reset, the acceptance, and the pipeline.
    assert last <= triples + Fdpa.latency + 4, f"{last} cycles for {triples} triples"


def faults():
    """Fields of commands at fault."""
    fine = {"mt": 2, "nt": 2, "kt": 2, "l0a": 0, "l0b": 0, "l0c": 0}
    for count in ("mt", "nt", "kt"):
        yield fine | {count: 0}
        yield fine | {count: 65535}
    for name in ("l0a", "l0b", "l0c"):
        words = getattr(CONFIG, f"{name}_words")
        for start in (words - 3, words - 1, words, 65535, *wraps(words, 16)):
            yield fine | {name: start}


@cocotb.test()
async def faults_stop_the_engine(dut):
    """Every fault, behind zero to three legal commands, a legal one behind it; then a clean start."""
    engine, model, rng = bench(dut)
    memory = model.buffers["l0c"]
    for fields in faults():
        before = [model.random_command() for _ in range(rng.randint(0, 3))]
        faulty = model.command(**fields)
        assert faulty.fault
        await engine.run([*before, faulty, model.random_command()])
        model.l0c[:] = memory.storage  # what the command at fault has left
        await engine.run([model.random_command()])
