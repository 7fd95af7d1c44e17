"""Bench of the feed engine: random FEED_A and FEED_B against a copy in Python, cycle by cycle."""

import random

import cocotb
import numpy as np
from amla.rtl.isa import Fault, Opcode

from ..memory import SyncMemory
from ..stream import start_clock
from .harness import Command, EngineBench, bench_config, encode, pack, unpack
from .timing import BLOCK, feed_timeline
from .wraps import wraps

CONFIG = bench_config()
GROUP = CONFIG.k // CONFIG.n
L0_WORDS = {"l0a": CONFIG.l0a_words, "l0b": CONFIG.l0b_words}


class FeedModel:
    """L1 and what the commands copy from it."""

    def __init__(self, dut, rng: random.Random):
        config, self.rng = CONFIG, rng
        bits = max(config.m, config.n) * config.k * 16
        self.l1 = [rng.getrandbits(bits) for _ in range(config.l1_words)]
        depth = config.l1_words // config.l1_banks
        for bank in range(config.l1_banks):
            SyncMemory(dut, f"l1__{bank}", depth, width=bits, storage=self.l1[bank::config.l1_banks])
        self.buffers = {
            "l0a": SyncMemory(dut, (), config.l0a_words, width=config.m * config.k * 16, writes="l0a"),
            "l0b": SyncMemory(dut, (), config.l0b_words, width=config.n * config.k * 16, writes="l0b"),
        }

    def fractal(self, address: int, rows: int) -> np.ndarray:
        return unpack(self.l1[address], np.uint16, (rows, CONFIG.k))

    def command(self, opcode: Opcode, *flags: str, **fields: int) -> Command:
        """The command, its writes and its items, up to the first access out of range."""
        name = "l0a" if opcode == Opcode.FEED_A else "l0b"
        rows = CONFIG.m if opcode == Opcode.FEED_A else CONFIG.n
        transpose = "transpose" in flags
        command = Command(encode(opcode, *flags, **fields))
        if not fields["outer"] or not fields["inner"]:
            command.fault = Fault.BAD_FIELD
            return command
        l0 = fields["l0"]
        for o in range(fields["outer"]):
            for i in range(fields["inner"]):
                base = fields["l1"] + o * fields.get("outer_stride", 0) + i * fields.get("inner_stride", 0)
                count = GROUP if transpose else 1
                sources = [base + j * fields.get("group_stride", 0) for j in range(count)]
                reached = max([*sources, 0]) < CONFIG.l1_words and l0 + count <= L0_WORDS[name]
                if not reached:
                    command.fault = Fault.BUFFER_OVERRUN
                    for address in range(l0, min(l0 + count, L0_WORDS[name])):
                        command.writes[name, address] = 0  # may or may not happen
                    return command
                words = [self.fractal(source, rows) for source in sources]
                if transpose:
                    columns = np.concatenate(words).T
                    words = [columns[h * CONFIG.n:(h + 1) * CONFIG.n] for h in range(GROUP)]
                for j, word in enumerate(words):
                    command.writes[name, l0] = pack(word)
                    command.items = [*command.items, BLOCK if transpose and j == 0 else None]
                    l0 += 1
        return command

    def random_command(self) -> Command:
        """A legal command."""
        rng = self.rng
        opcode, *flags = rng.choice([(Opcode.FEED_A,), (Opcode.FEED_B,), (Opcode.FEED_B, "transpose")])
        name = "l0a" if opcode == Opcode.FEED_A else "l0b"
        count = GROUP if flags else 1
        space = L0_WORDS[name] // count
        outer = rng.randint(1, min(4, space))
        inner = rng.randint(1, min(24, space // outer))
        fields = {"outer": outer, "inner": inner}
        room = CONFIG.l1_words - 1
        for stride, times in (("group_stride", count), ("inner_stride", inner), ("outer_stride", outer)):
            if stride == "group_stride" and opcode == Opcode.FEED_A:
                continue
            # With a count of one a stride is free: it must not be used.
            fields[stride] = rng.randint(0, min(room // (times - 1), 65535)) if times > 1 else rng.randrange(1 << 16)
            room -= fields[stride] * (times - 1)
        fields["l1"] = rng.choice([0, room, rng.randint(0, room)])
        used = outer * inner * count
        fields["l0"] = rng.choice([0, L0_WORDS[name] - used, rng.randint(0, L0_WORDS[name] - used)])
        return self.command(opcode, *flags, **fields)


def bench(dut) -> tuple[EngineBench, FeedModel, random.Random]:
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    model = FeedModel(dut, rng)
    return EngineBench(dut, model.buffers, lambda: feed_timeline(CONFIG)), model, rng


@cocotb.test()
async def back_to_back(dut):
    """Random commands without a gap: a word per cycle."""
    engine, model, _ = bench(dut)
    commands = [model.random_command() for _ in range(1000)]
    await engine.run(commands)
    assert engine.finished == len(commands)


@cocotb.test()
async def with_pauses(dut):
    """Random commands with random gaps: partly filled pipelines."""
    engine, model, rng = bench(dut)
    await engine.run([model.random_command() for _ in range(500)], pause=lambda: rng.choice([0, 0, 1, 3, 12]))


@cocotb.test()
async def one_word_commands(dut):
    """The shortest commands, which fill the table of unfinished commands."""
    engine, model, rng = bench(dut)
    commands = []
    for _ in range(200):
        name = rng.choice(["l0a", "l0b"])
        commands.append(model.command(
            Opcode.FEED_A if name == "l0a" else Opcode.FEED_B, l1=rng.randrange(CONFIG.l1_words),
            l0=rng.randrange(L0_WORDS[name]), outer=1, inner=1))
    await engine.run(commands)


@cocotb.test()
async def transposing_is_sustained(dut):
    """A whole L0B of transposed blocks, twice, without a lost cycle."""
    engine, model, _ = bench(dut)
    blocks = L0_WORDS["l0b"] // GROUP
    command = {"l1": 0, "l0": 0, "outer": 1, "inner": blocks, "inner_stride": GROUP, "group_stride": 1}
    last = await engine.run([model.command(Opcode.FEED_B, "transpose", **command) for _ in range(2)])
    # The reset leaves one idle edge; then acceptance, the words, the pipeline.
    assert last - 2 * blocks * GROUP <= GROUP + 5, f"{last} cycles for {2 * blocks * GROUP} words"


def faults(model: FeedModel):
    fine = {"l1": 0, "l0": 0, "outer": 2, "inner": 2, "outer_stride": 1, "inner_stride": 1}
    for opcode, name in ((Opcode.FEED_A, "l0a"), (Opcode.FEED_B, "l0b")):
        yield model.command(opcode, **fine | {"outer": 0})
        yield model.command(opcode, **fine | {"inner": 0})
        yield model.command(opcode, **fine | {"l1": CONFIG.l1_words - 2})
        yield model.command(opcode, **fine | {"l1": CONFIG.l1_words})
        yield model.command(opcode, **fine | {"l1": (1 << 24) - 1})
        yield model.command(opcode, **fine | {"inner_stride": 65535})
        yield model.command(opcode, **fine | {"outer_stride": 65535})
        last = CONFIG.l1_words - 1
        for l1 in wraps(CONFIG.l1_words, 24):
            yield model.command(opcode, **fine | {"l1": l1})
        for stride in wraps(CONFIG.l1_words, 16, base=last):
            yield model.command(opcode, **fine | {"l1": last, "outer": 1, "inner_stride": stride})
            yield model.command(opcode, **fine | {"l1": last, "inner": 1, "outer_stride": stride})
        for l0 in wraps(L0_WORDS[name], 16):
            yield model.command(opcode, **fine | {"l0": l0})
        yield model.command(opcode, **fine | {"l0": L0_WORDS[name] - 3})
        yield model.command(opcode, **fine | {"l0": 65535})
    yield model.command(Opcode.FEED_B, "transpose", **fine | {"l0": L0_WORDS["l0b"] - 4 * GROUP + 1})
    if GROUP > 1:
        stride = CONFIG.l1_words // (GROUP - 1)
        yield model.command(Opcode.FEED_B, "transpose", **fine | {"group_stride": stride})
        # Every row group of a block past the end, where a register of 16 bits would go backwards through the buffer.
        yield model.command(Opcode.FEED_B, "transpose",
                            **fine | {"l1": GROUP - 1, "outer": 1, "inner": 1, "group_stride": 65535})


@cocotb.test()
async def faults_stop_the_engine(dut):
    """Every fault, behind zero to three legal commands, with legal commands behind it; then a clean start."""
    engine, model, rng = bench(dut)
    for faulty in faults(model):
        assert faulty.fault
        before = [model.random_command() for _ in range(rng.randint(0, 3))]
        await engine.run([*before, faulty, *(model.random_command() for _ in range(2))])
        await engine.run([model.random_command()])
