# amaranth: UnusedElaboratable=no
"""Bench of the vector engine: MERGE against the golden model, every cycle predicted, beside another reader of L1.

Splits and their LSE appear in L1 and SINK when the engine accepts a command; OUT and LSE are compared bit for bit at
its ``done``, the factors by what commands without ``first`` make of them.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import cocotb
import numpy as np
from amla.model.attention.accumulate import normalize
from amla.model.attention.split_kv import end_factors, merge_factors, weighted_sum
from amla.model.fp.convert import to_bf16
from amla.rtl.engines.vector import Vector
from amla.rtl.isa import Fault, Opcode
from amla.rtl.softmax.lanes import VectorLane
from amla.rtl.softmax.merge_rows import MergeRows
from amla.rtl.softmax.merge_walk import MergeWalk
from amla.rtl.softmax.row_weight import slots
from cocotb.triggers import RisingEdge

from ..memory import SyncMemory
from ..signals import Pin
from ..stream import start_clock
from .harness import Command, EngineBench, bench_config, encode, pack
from .timing import Timeline
from .wraps import wraps

CONFIG = bench_config()
ROWS, WALK, LATENCY = MergeRows(CONFIG), MergeWalk(CONFIG), Vector(CONFIG).merge_latency
INF = 0x7F800000
SPECIAL = np.array((0x00000000, 0x80000000, INF, 0xFF800000, 0x7FC00000, 0x7F812345, 0x00000001, 0x807FFFFF, 0x7F7FFFFF,
                    0xFF7FFFFF, 0x00800000), np.uint32)
OUT_PARTS = CONFIG.beat_elements // CONFIG.lanes


@dataclass
class MergeCommand(Command):
    """A command, what it finds in the buffers, and whether it must report a NaN or infinity."""

    inputs: dict[tuple[str, int], int] = field(default_factory=dict)
    nonfinite: bool = False


class MergeTimeline(Timeline):
    """Cycle model of a MERGE at a time: its only item is its fields, with ``first`` and ``sinks``."""

    def __init__(self, ready: Callable[[int], bool]):
        super().__init__(lambda item, cycle: cycle, latency=0)
        self._ready, self._done = ready, 0

    def next_accept(self) -> int:
        return self._done

    def accept(self, items, cycle: int) -> int:
        if not items:
            return self._done  # at fault
        fields, = items
        period = fields["splits"] + 2 * fields["splits"] * slots(CONFIG.m) + ROWS.group_latency
        period += ROWS.sink_latency if fields["sinks"] else 0
        rows = cycle + 2  # begins the row pass of a row group
        cycle += 2
        for _ in range(fields["mt"]):
            rows += period
            cycle = max(cycle, rows + 1 if fields["first"] else 0)  # the row group may begin
            left = fields["nt"] * OUT_PARTS
            while left:
                items = min(left, WALK.run) * WALK.words
                left -= items // WALK.words
                cycle += 2
                for _ in range(fields["splits"]):
                    cycle = self._turn(cycle, items)
                cycle += VectorLane.product_latency
                last = cycle + items - 1
                cycle += VectorLane.turn - 1
            cycle += 1
        self._done = last + LATENCY
        return self._done

    def _turn(self, cycle: int, items: int) -> int:
        """The cycle behind a turn that begins in one."""
        item = 0
        while item < items:
            for at in range(VectorLane.turn):
                if at == item and item < items:
                    if self._ready(cycle):
                        item += 1
                    else:
                        self.stalls += 1
                cycle += 1
        return cycle


class MergeModel:
    """The buffers, the golden factors, and what the commands make of both.

    Parameters
    ----------
    special: probability of a special word among splits, LSE and sinks
    unseen:  probability of a split of which a row sees no key
    """

    def __init__(self, dut, rng: random.Random, *, special: float = 0.0, unseen: float = 0.3):
        self.rng, self.numbers = rng, np.random.default_rng(rng.getrandbits(64))
        self.special, self.unseen = special, unseen
        self.seen: Counter[str] = Counter()
        self.factors = np.zeros((CONFIG.state_words, CONFIG.m), np.uint32)
        self.known: dict[range, tuple[int, int]] = {}  # words of factors: row groups and splits
        width, depth = max(CONFIG.m, CONFIG.n) * CONFIG.k * 16, CONFIG.l1_words // CONFIG.l1_banks
        self.l1 = [SyncMemory(dut, f"l1__{bank}", depth, width=width, holds=False) for bank in range(CONFIG.l1_banks)]
        self.sink = SyncMemory(dut, "sink", CONFIG.state_words, width=CONFIG.m * 32)
        self.buffers = {
            "out": SyncMemory(dut, words=CONFIG.out_words, width=CONFIG.m * CONFIG.beat_elements * 16, writes="out"),
            "lse": SyncMemory(dut, words=CONFIG.state_words, width=CONFIG.m * 32, writes="lse"),
        }

    def fill(self, command: MergeCommand) -> None:
        """Put a command's inputs into the buffers."""
        for (name, address), word in command.inputs.items():
            if name == "l1":
                self.l1[address % CONFIG.l1_banks].storage[address // CONFIG.l1_banks] = word
            else:
                self.sink.storage[address] = word

    def _words(self, *shape: int) -> np.ndarray:
        spread = self.rng.choice([0.0, 0.1, 3.0, 40.0, 300.0])
        words = (self.numbers.normal(0, 1, shape) * spread).astype(np.float32).view(np.uint32)
        return np.where(self.numbers.random(shape) < self.special, self.numbers.choice(SPECIAL, shape), words)

    def command(self, *flags: str, **fields: int) -> MergeCommand:
        """A MERGE, its inputs and its writes."""
        m, k = CONFIG.m, CONFIG.k
        mt, nt, splits = (fields[name] for name in ("mt", "nt", "splits"))
        first, sinks = "first" in flags, {"first", "sinks"} <= {*flags}
        command = MergeCommand(encode(Opcode.MERGE, *flags, **fields))
        words = nt * OUT_PARTS * CONFIG.lanes * 2 // k
        ends = {
            "l1": (CONFIG.l1_words,
                   fields["l1"] + (mt - 1) * fields["l1_pitch"] + (splits - 1) * fields["split_pitch"] + words),
            "out": (CONFIG.out_words, fields["out"] + (mt - 1) * fields["out_pitch"] + nt),
            "state": (CONFIG.state_words, fields["state"] + (splits + 1) * mt),
            **({"lse": (CONFIG.state_words, fields["lse"] + mt),
                "sink": (CONFIG.state_words, fields["sink"] + (splits + sinks) * mt)} if first else {}),
        }
        if not mt * nt * splits:
            command.fault = Fault.BAD_FIELD
        elif any(end > depth for depth, end in ends.values()):
            command.fault = Fault.BUFFER_OVERRUN
        if command.fault:
            command.writes = {(name, address): 0 for name, memory in self.buffers.items()
                              for address in range(len(memory.storage))}
            self.known.clear()
            return command
        command.items = [{**fields, "first": first, "sinks": sinks}]
        places = fields["state"] + np.arange((splits + 1) * mt).reshape(splits + 1, mt)
        if first:
            lses, weights = self._words(splits, mt * m), self._words(mt * m)
            lses[self.numbers.random(lses.shape) < self.unseen] = INF
            factors, lse = merge_factors(lses)
            last = end_factors(lse, weights if sinks else None)
            self.factors[places] = np.vstack([factors, last]).reshape(splits + 1, mt, m)
            here = range(fields["state"], fields["state"] + places.size)
            self.known = {words: sizes for words, sizes in self.known.items()
                          if words.stop <= here.start or here.stop <= words.start} | {here: (mt, splits)}
            rows = [*lses, weights] if sinks else lses
            for index, words_of in enumerate(rows):
                for mi in range(mt):
                    command.inputs["sink", fields["sink"] + index * mt + mi] = pack(words_of[mi * m:(mi + 1) * m])
            for mi in range(mt):
                command.writes["lse", fields["lse"] + mi] = pack(lse[mi * m:(mi + 1) * m])
            counts = (lses != INF).sum(axis=0)
            for number in range(3):
                self.seen[f"row in {number} splits"] += bool((counts == number).any())
        addresses = (fields["l1"] + np.arange(mt)[:, None, None] * fields["l1_pitch"]
                     + np.arange(splits)[:, None] * fields["split_pitch"] + np.arange(words))
        touched, where = np.unique(addresses, return_inverse=True)
        content = self._words(len(touched), max(CONFIG.m, CONFIG.n), max(k // 2, 1)).view(np.uint16)[..., :k]
        command.inputs |= {("l1", int(address)): pack(word) for address, word in zip(touched, content, strict=True)}
        parts = content[where.reshape(addresses.shape)][:, :, :, :m].transpose(1, 0, 3, 2, 4)
        parts = np.ascontiguousarray(parts).reshape(splits, mt * m, -1).view(np.uint32)
        factors = self.factors[places].reshape(splits + 1, -1)
        out = to_bf16(normalize(weighted_sum(parts, factors[:-1]), factors[-1]))
        beats = out.reshape(mt, m, nt, OUT_PARTS, CONFIG.lanes).transpose(0, 2, 3, 1, 4)
        for mi in range(mt):
            for beat in range(nt):
                command.writes["out", fields["out"] + mi * fields["out_pitch"] + beat] = pack(beats[mi, beat])
        command.nonfinite = bool((out & 0x7F80 == 0x7F80).any())
        self.seen["nonfinite"] += command.nonfinite
        self.seen["without first"] += not first
        return command

    def _spot(self, depth: int, length: int) -> int:
        return self.rng.choice([0, depth - length, self.rng.randint(0, depth - length)])

    def random_command(self) -> MergeCommand:
        """A legal command; without ``first`` where factors of its size are known, now and then."""
        rng, words = self.rng, CONFIG.state_words
        mt = rng.randint(1, min(3, words // 3, CONFIG.out_words))
        splits = rng.randint(1, min(6, words // mt - 2))
        state = self._spot(words, (splits + 1) * mt)
        again = self.known and rng.random() < 0.4
        if again:
            factors, (mt, splits) = rng.choice([*self.known.items()])
            state = factors.start
        nt = rng.randint(1, max(1, min(4, CONFIG.out_words // mt)))
        size = nt * OUT_PARTS * CONFIG.lanes * 2 // CONFIG.k
        room = CONFIG.l1_words - size
        l1_pitch = rng.choice([0, size, rng.randint(0, min(room // mt, 65535))]) if mt > 1 else rng.getrandbits(16)
        room -= (mt - 1) * l1_pitch if mt > 1 else 0
        if room < 0:
            l1_pitch, room = 0, CONFIG.l1_words - size
        split_pitch = rng.randint(0, room // (splits - 1)) if splits > 1 else rng.getrandbits(24)
        room -= (splits - 1) * split_pitch if splits > 1 else 0
        out_pitch = rng.choice([nt, rng.randint(0, (CONFIG.out_words - nt) // max(mt - 1, 1))])
        sinks = rng.random() < 0.5
        return self.command(
            *(() if again else ("first",)), *(("sinks",) if sinks else ()), mt=mt, nt=nt, splits=splits, state=state,
            l1=rng.choice([0, room, rng.randint(0, room)]), l1_pitch=l1_pitch, split_pitch=split_pitch,
            out=self._spot(CONFIG.out_words, (mt - 1) * out_pitch + nt), out_pitch=out_pitch,
            lse=rng.getrandbits(16) if again else self._spot(words, mt),
            sink=rng.getrandbits(16) if again else self._spot(words, (splits + sinks) * mt))


class MergeBench(EngineBench):
    """The harness, plus inputs that appear with the command, the strobe ``nonfinite``, and L1's other reader."""

    def __init__(self, dut, *, busy: float = 0.0, **options):
        self.rng = random.Random(cocotb.RANDOM_SEED)
        start_clock(dut)
        self.model = MergeModel(dut, self.rng, **options)
        ready = Pin(dut, "l1_ready")
        pattern: dict[int, bool] = {}

        def free(cycle: int) -> bool:
            return pattern.setdefault(cycle, self.rng.random() >= busy)

        super().__init__(dut, self.model.buffers, lambda: MergeTimeline(free), lambda cycle: ready.set(free(cycle)))
        self._probes = [Pin(dut, name) for name in ("start__valid", "start__ready", "done", "nonfinite")]

    async def run(self, commands, **options) -> int:
        reported: list[bool] = []
        attendant = cocotb.start_soon(self._attend(commands, reported))
        last = await super().run(commands, **options)
        attendant.cancel()
        for index, (command, got) in enumerate(zip(commands, reported, strict=False)):
            assert command.fault or got == command.nonfinite, f"command {index}: nonfinite is {got}"
        return last

    async def _attend(self, commands, reported) -> None:
        valid, ready, done, nonfinite = (pin.get for pin in self._probes)
        edge, accepted, flag = RisingEdge(self.dut.clk), 0, False
        while True:
            await edge
            flag |= bool(nonfinite())
            if done():
                reported.append(flag)
                flag = False
            if valid() and ready():
                self.model.fill(commands[accepted])
                accepted += 1


@cocotb.test()
async def merges(dut):
    """Random commands without a gap."""
    bench = MergeBench(dut)
    await bench.run([bench.model.random_command() for _ in range(60)])
    for event in (*(f"row in {number} splits" for number in range(3)), "without first"):
        assert bench.model.seen[event], f"no {event} among the commands"
    assert not bench.model.seen["nonfinite"]


@cocotb.test()
async def beside_another_reader(dut):
    """The other reader of L1 takes a third of the cycles."""
    bench = MergeBench(dut, busy=0.35)
    await bench.run([bench.model.random_command() for _ in range(40)], pause=lambda: bench.rng.choice([0, 0, 1, 7]))


@cocotb.test()
async def special_values(dut):
    """NaN, infinities, zeros and subnormals everywhere; rows that hardly any split counts for."""
    for unseen in (0.1, 0.8):
        bench = MergeBench(dut, special=0.08, unseen=unseen)
        await bench.run([bench.model.random_command() for _ in range(40)])
        assert bench.model.seen["nonfinite"]


def faults():
    """Fields of commands at fault."""
    words = 2 * CONFIG.beat_elements // CONFIG.k
    fine = {"l1": 0, "l1_pitch": words, "split_pitch": 2 * words, "splits": 2, "mt": 2, "nt": 1, "state": 0, "sink": 0,
            "lse": 0, "out": 0, "out_pitch": 1}
    for name in ("mt", "nt", "splits"):
        yield ("first",), fine | {name: 0}
    yield ("first",), fine | {"mt": 65535}
    yield (), fine | {"nt": 65535}
    state = CONFIG.state_words
    for name, depth, used, bits in (("l1", CONFIG.l1_words, 4 * words, 24), ("out", CONFIG.out_words, 2, 16),
                                    ("state", state, 6, 16), ("sink", state, 4, 16), ("lse", state, 2, 16)):
        for start in (depth - used + 1, depth, (1 << bits) - 1, *wraps(depth, bits)):
            if start < 1 << bits:
                yield ("first",), fine | {name: start}
    yield ("first", "sinks"), fine | {"sink": state - 5}
    yield (), fine | {"state": state - 5}
    last = CONFIG.l1_words - words
    for name, bits in (("l1_pitch", 16), ("split_pitch", 24)):
        for pitch in wraps(CONFIG.l1_words, bits, base=last):
            yield ("first",), fine | {"l1": last, "l1_pitch": 0, "split_pitch": 0, name: pitch}
    for pitch in wraps(CONFIG.out_words, 16, base=CONFIG.out_words - 1):
        yield ("first",), fine | {"out": CONFIG.out_words - 1, "out_pitch": pitch}


@cocotb.test()
async def faults_stop_the_engine(dut):
    """Every fault, behind zero to two legal commands, a legal one behind it; then a clean start."""
    bench = MergeBench(dut)
    model = bench.model
    for flags, fields in faults():
        before = [model.random_command() for _ in range(bench.rng.randint(0, 2))]
        faulty = model.command(*flags, **fields)
        assert faulty.fault, f"{flags} {fields}"
        await bench.run([*before, faulty, model.random_command()])
        model.known.clear()
        await bench.run([model.random_command()])
