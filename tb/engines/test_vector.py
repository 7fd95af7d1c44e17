# amaranth: UnusedElaboratable=no
"""Bench of the vector engine: SOFTMAX and NORMALIZE against the golden model, every cycle predicted.

The tiles of several row tiles interleave. Scores, row maxima and O of a command appear in the buffers when
the engine accepts it; P, OFFSETS, OUT and LSE are compared bit for bit at its ``done``, the row state by what
the later commands make of it.
"""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import cocotb
import numpy as np
from amla.model.attention.accumulate import normalize, reciprocal_and_lse
from amla.model.attention.softmax import RowState, row_maximum, softmax_tile, valid_columns
from amla.model.fp.add import sub
from amla.model.fp.convert import to_bf16
from amla.model.fp.exp2 import exp2
from amla.model.fp.formats import BF16
from amla.model.fp.mul import mul
from amla.model.numerics import Numerics
from amla.rtl.engines.vector import Vector
from amla.rtl.isa import Fault, Opcode
from cocotb.triggers import RisingEdge

from ..memory import SyncMemory
from ..signals import Pin
from ..stream import start_clock
from .harness import Command, EngineBench, bench_config, encode, pack
from .timing import Timeline
from .wraps import wraps

CONFIG = bench_config()
ENGINE = Vector(CONFIG)
SPECIAL = (0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F812345, 0x00000001, 0x807FFFFF,
           0x7F7FFFFF, 0xFF7FFFFF, 0x00800000)
MINUS_INF = 0xFF800000
#: Words of sigma: 1/sqrt(192)·log2(e), 1, a small and a large one.
SCALES = (0x3DD54009, 0x3F800000, 0x3B123456, 0x40490FDB)

#: First offset word of a row that is not rescaled.
UNSCALED = 0x3F800000 if CONFIG.mode == "mul" else 0

P_PARTS, OUT_PARTS = CONFIG.k // CONFIG.lanes, CONFIG.beat_elements // CONFIG.lanes


@dataclass
class VectorCommand(Command):
    """A command, what it finds in the buffers, and whether it must report a NaN or infinity."""

    inputs: dict[tuple[str, int], int] = field(default_factory=dict)
    nonfinite: bool = False


class PWords:
    """L1 as the port of P leaves it."""

    def __init__(self, dut):
        self.storage = [0] * CONFIG.l1_words
        self.writes_done = 0
        self._pins = [Pin(dut, name) for name in ("p_valid", "p_address", "p_data")]
        self._edge = RisingEdge(dut.clk)
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        valid, address, word = (pin.get for pin in self._pins)
        while True:
            await self._edge
            if valid():
                self.storage[address()] = word()
                self.writes_done += 1


class SerialTimeline(Timeline):
    """Cycle model of a command at a time, each of a known duration, its only item."""

    def __init__(self) -> None:
        super().__init__(lambda duration, cycle: cycle, latency=0)
        self._done = 0

    def next_accept(self) -> int:
        return self._done

    def accept(self, items, cycle: int) -> int:
        self._done = cycle + sum(items)
        return self._done


def element_cycles(row_groups: int, groups: int, *, row_pass: bool) -> int:
    """Cycles in which lane groups issue, those included in which a row group waits for its rows."""
    return (row_groups - 1) * max(groups, CONFIG.m if row_pass else 0) + groups


def softmax_cycles(mt: int, kt: int) -> int:
    """Cycles from the acceptance of a SOFTMAX to ``done``."""
    return element_cycles(mt, kt * P_PARTS, row_pass=True) + ENGINE.softmax_latency


def normalize_cycles(mt: int, nt: int, *, first: bool, sinks: bool) -> int:
    """Cycles from the acceptance of a NORMALIZE to ``done``."""
    return (element_cycles(mt, nt * OUT_PARTS, row_pass=first) + ENGINE.normalize_latency
            + (ENGINE.result_latency + (ENGINE.sink_latency if sinks else 0) if first else 0))


class VectorModel:
    """The buffers, the golden row state, and what the commands make of both.

    Parameters
    ----------
    special: probability of a special word among the scores and in O
    lost:    probability of a row whose every score in a tile is -inf
    """

    def __init__(self, dut, rng: random.Random, *, special: float = 0.0, lost: float = 0.0):
        self.rng = rng
        self.numbers = np.random.default_rng(rng.getrandbits(64))
        self.special = special
        self.lost = lost
        #: Standard deviations to choose from per command, and means per row.
        self.spreads = [0.0, 0.05, 1.0, 8.0, 60.0, 3e4]
        self.means = [0.0, 0.0, 5.0, -40.0, 400.0, -3000.0]
        self.scale = rng.choice(SCALES)
        self.seen: Counter[str] = Counter()
        self.state = RowState.empty(CONFIG.state_rows)
        self.recip = np.zeros(CONFIG.state_rows, np.uint32)
        self.started = np.zeros(CONFIG.state_words, bool)  # row groups with a state
        self.ended = np.zeros(CONFIG.state_words, bool)  # row groups with a reciprocal
        Pin(dut, "scale").set(self.scale)
        group = CONFIG.m * CONFIG.lanes
        self.sources = {
            "s": SyncMemory(dut, "s", CONFIG.s_words, width=group * 32),
            "rowmax": SyncMemory(dut, "rowmax", CONFIG.state_words, width=CONFIG.m * 32),
            "o": SyncMemory(dut, "o", CONFIG.o_words, width=group * 32, holds=False),
            "sink": SyncMemory(dut, "sink", CONFIG.state_words, width=CONFIG.m * 32),
        }
        self.buffers: dict[str, Any] = {
            "p": PWords(dut),
            "offsets": SyncMemory(dut, words=CONFIG.state_words, width=CONFIG.m * 32 << CONFIG.comp_bits,
                                  writes="offsets"),
            "out": SyncMemory(dut, words=CONFIG.out_words, width=group * OUT_PARTS * 16, writes="out"),
            "lse": SyncMemory(dut, words=CONFIG.state_words, width=CONFIG.m * 32, writes="lse"),
        }

    def forget(self) -> None:
        """The row state is unknown: a command was carried out in part."""
        self.started[:] = self.ended[:] = False

    def _words(self, rows: int, columns: int) -> np.ndarray:
        """Numbers of a random spread around a mean per row, with special words among them."""
        spread, means = self.rng.choice(self.spreads), self.numbers.choice(self.means, (rows, 1))
        numbers = self.numbers.normal(0, 1, (rows, columns)) * spread + means
        words = numbers.astype(np.float32).view(np.uint32)
        special = self.numbers.random(words.shape) < self.special
        return np.where(special, self.numbers.choice(np.array(SPECIAL, np.uint32), words.shape), words)

    def _sinks(self, lse: np.ndarray) -> np.ndarray:
        """A sink for each row: beside its LSE, far from it, or a special word."""
        rows = len(lse)
        near = np.where(lse == SPECIAL[2], 0, lse.view(np.float32)) + self.numbers.normal(0, 3, rows)
        sinks = np.where(self.numbers.random(rows) < 0.7, near, self.numbers.normal(0, 1e3, rows))
        words = sinks.astype(np.float32).view(np.uint32)
        return np.where(self.numbers.random(rows) < 0.2, self.numbers.choice(np.array(SPECIAL, np.uint32), rows), words)

    def _place(self, command, buffer, base, pitch, words) -> np.ndarray:
        """Put ``words`` into the buffer's lane groups; return what is read there: row groups may overlap."""
        rows, lanes = CONFIG.m, CONFIG.lanes
        groups = words.reshape(-1, rows, words.shape[1] // lanes, lanes).swapaxes(1, 2)
        places = [[base + mi * pitch + group for group in range(groups.shape[1])]
                  for mi in range(len(groups))]
        kept = {}
        for mi, addresses in enumerate(places):
            for group, address in enumerate(addresses):
                kept[address] = groups[mi, group]
        command.inputs |= {(buffer, address): pack(word) for address, word in kept.items()}
        read = np.array([[kept[address] for address in addresses] for addresses in places])
        return read.swapaxes(1, 2).reshape(words.shape)

    def softmax(self, *flags: str, **fields: int) -> VectorCommand:
        """A SOFTMAX, its inputs and its writes."""
        m, mt, kt = CONFIG.m, fields["mt"], fields["kt"]
        command = VectorCommand(encode(Opcode.SOFTMAX, *flags, **fields))
        ends = {
            "p": (CONFIG.l1_words, fields["p"] + mt * kt),
            "s": (CONFIG.s_words, fields["s"] + (mt - 1) * fields["s_pitch"] + kt * P_PARTS),
            **{name: (CONFIG.state_words, fields[name] + mt) for name in ("rowmax", "state", "offsets")},
        }
        if self._at_fault(command, mt * kt, ends):
            legal = {("p", fields["p"] + index) for index in range(min(mt * kt, CONFIG.l1_words))}
            legal |= {("offsets", fields["offsets"] + index) for index in range(min(mt, CONFIG.state_words))}
            command.writes = dict.fromkeys(legal, 0)
            return command
        command.items = [softmax_cycles(mt, kt)]
        scores = self._words(mt * m, kt * CONFIG.k)
        scores[self.numbers.random(len(scores)) < self.lost] = MINUS_INF
        scores = self._place(command, "s", fields["s"], fields["s_pitch"], scores)
        valid = valid_columns(mt * m, fields["limit"], fields["heads"], fields["head0"])
        rowmax = row_maximum(scores, valid)
        here = slice(fields["state"] * m, (fields["state"] + mt) * m)
        state = RowState(**{name: getattr(self.state, name)[here] for name in ("m", "c", "l", "L")})
        weightless = (state.L == 0) & ("first" not in flags)
        p, offsets = softmax_tile(scores, valid, rowmax, state, scale_word=self.scale, first="first" in flags,
                                  mode=CONFIG.mode, comp_bits=CONFIG.comp_bits,
                                  format=Numerics(p_format=CONFIG.p_format).format_of_p(BF16))
        for mi in range(mt):
            rows = slice(mi * m, (mi + 1) * m)
            command.inputs["rowmax", fields["rowmax"] + mi] = pack(rowmax[rows])
            command.writes["offsets", fields["offsets"] + mi] = pack(offsets[rows])
            for chunk in range(kt):
                columns = slice(chunk * CONFIG.k, (chunk + 1) * CONFIG.k)
                command.writes["p", fields["p"] + mi * kt + chunk] = pack(p[rows, columns])
        counted = np.arange(scores.shape[1]) < valid[:, None]
        exponentials = exp2(sub(mul(scores, np.uint32(self.scale)), state.m[:, None]))
        command.nonfinite = bool((_nonfinite(exponentials) & counted).any())
        touched = slice(fields["state"], fields["state"] + mt)
        self.started[touched] = True
        self.ended[touched] = False
        self.seen["masked row"] += bool(((valid > 0) & (valid < scores.shape[1])).any())
        self.seen["empty row"] += bool((valid == 0).any())
        self.seen["rescaled row"] += "first" not in flags and bool((offsets[:, 0] != UNSCALED).any())
        self.seen["nonfinite"] += command.nonfinite
        lost = (valid > 0) & (rowmax == MINUS_INF)
        self.seen["lost at first"] += "first" in flags and bool(lost.any())
        self.seen["lost again"] += bool((lost & weightless).any())
        self.seen["lost later"] += "first" not in flags and bool((lost & ~weightless).any())
        self.seen["found"] += bool((weightless & (state.L != 0)).any())
        return command

    def normalize(self, *flags: str, **fields: int) -> VectorCommand:
        """A NORMALIZE, its inputs and its writes."""
        m, mt, nt = CONFIG.m, fields["mt"], fields["nt"]
        command = VectorCommand(encode(Opcode.NORMALIZE, *flags, **fields))
        weighs, wide = {"first", "sinks"} <= {*flags}, "wide" in flags
        groups = -(-nt * OUT_PARTS // (2 if wide else 1))
        ends = {
            "o": (CONFIG.o_words, fields["o"] + (mt - 1) * fields["o_pitch"] + groups),
            "out": (CONFIG.out_words, fields["out"] + (mt - 1) * fields["out_pitch"] + nt),
            "state": (CONFIG.state_words, fields["state"] + mt),
            **({"lse": (CONFIG.state_words, fields["lse"] + mt)} if "first" in flags else {}),
            **({"sink": (CONFIG.state_words, fields["sink"] + mt)} if weighs else {}),
        }
        if self._at_fault(command, mt * nt, ends):
            command.writes = {(name, address): 0 for name in ("out", "lse")
                              for address in range(len(self.buffers[name].storage))}
            return command
        command.items = [normalize_cycles(mt, nt, first="first" in flags, sinks="sinks" in flags)]
        here = slice(fields["state"] * m, (fields["state"] + mt) * m)
        if "first" in flags:
            state = RowState(**{name: getattr(self.state, name)[here] for name in ("m", "c", "l", "L")})
            self.recip[here], lse = reciprocal_and_lse(state, mode=CONFIG.mode)
            if weighs:
                sinks = self._sinks(lse)
                plain = self.recip[here].copy()
                self.recip[here], _ = reciprocal_and_lse(state, mode=CONFIG.mode, sinks=sinks)
                for mi in range(mt):
                    command.inputs["sink", fields["sink"] + mi] = pack(sinks[mi * m:(mi + 1) * m])
                self.seen["weighed row"] += bool((self.recip[here] != plain).any())
                self.seen["sink without key"] += bool(((lse == SPECIAL[2]) & (sinks & 0x7F800000 > 0)).any())
            for mi in range(mt):
                command.writes["lse", fields["lse"] + mi] = pack(lse[mi * m:(mi + 1) * m])
            self.ended[fields["state"]:fields["state"] + mt] = True
            self.seen["row without key"] += bool((lse == SPECIAL[2]).any())
        o = self._words(mt * m, groups * CONFIG.lanes)
        o = self._place(command, "o", fields["o"], fields["o_pitch"], o)
        out = normalize(o, self.recip[here])
        if wide:  # columns past the last beat, if a lane group ends in a beat, are not put out
            command.nonfinite = bool(_nonfinite(out).any())
            out = np.ascontiguousarray(out.view(np.uint16)[:, :nt * CONFIG.beat_elements])
        else:
            out = to_bf16(out)
            command.nonfinite = bool((out & 0x7F80 == 0x7F80).any())
        beats = out.reshape(mt, m, nt, OUT_PARTS, CONFIG.lanes).transpose(0, 2, 3, 1, 4)
        for mi in range(mt):
            for beat in range(nt):
                address = fields["out"] + mi * fields["out_pitch"] + beat
                command.writes["out", address] = pack(beats[mi, beat])
        self.seen["wide"] += wide
        self.seen["nonfinite output"] += command.nonfinite
        return command

    def _at_fault(self, command, count, ends) -> bool:
        if not count:
            command.fault = Fault.BAD_FIELD
        elif any(end > depth for depth, end in ends.values()):
            command.fault = Fault.BUFFER_OVERRUN
            self.forget()
        return command.fault is not Fault.NONE

    def _spot(self, depth: int, length: int) -> int:
        free = depth - length
        return self.rng.choice([0, free, self.rng.randint(0, free)])

    def _pitch(self, depth: int, length: int, row_groups: int) -> int:
        """Row groups one after another, spread, or overlapping."""
        return self.rng.choice([length, self.rng.randint(0, (depth - length) // max(row_groups - 1, 1))])

    def random_softmax(self, *, mt: int = 0, kt: int = 0, limit: int | None = None) -> VectorCommand:
        """A legal SOFTMAX; not ``first`` where the rows have a state, more often than not."""
        rng, m = self.rng, CONFIG.m
        mt = mt or rng.randint(1, 3)
        kt = kt or rng.randint(1, min(CONFIG.s_words // (P_PARTS * mt), 6))
        groups, columns = kt * P_PARTS, kt * CONFIG.k
        pitch = self._pitch(CONFIG.s_words, groups, mt)
        state = self._spot(CONFIG.state_words, mt)
        going_on = self.started[state:state + mt].all() and rng.random() < 0.8
        if limit is None:
            limit = rng.choice([columns, 1 << 22, rng.randint(-4, columns + 1), rng.randint(0, 2),
                                -(1 << 23)])
        heads = rng.choice([0, 1, 2, 3, m, mt * m // 2, 65535])
        return self.softmax(
            *(() if going_on else ("first",)), mt=mt, kt=kt, state=state, s_pitch=pitch,
            s=self._spot(CONFIG.s_words, (mt - 1) * pitch + groups),
            rowmax=self._spot(CONFIG.state_words, mt), offsets=self._spot(CONFIG.state_words, mt),
            p=self._spot(CONFIG.l1_words, mt * kt), limit=limit, heads=heads,
            head0=rng.choice([0, 0, rng.randint(0, max(heads - 1, 0)), rng.randint(0, 60)]))

    def random_normalize(self) -> VectorCommand:
        """A legal NORMALIZE of row groups that have a state."""
        rng = self.rng
        mt = rng.randint(1, 3)
        nt = rng.randint(1, max(1, min(20, CONFIG.out_words // mt, CONFIG.o_words // (OUT_PARTS * mt))))
        wide = rng.random() < 0.4
        groups = -(-nt * OUT_PARTS // (2 if wide else 1))
        states = [word for word in range(CONFIG.state_words - mt + 1) if self.started[word:word + mt].all()]
        if not states:
            return self.random_softmax()
        state = rng.choice(states)
        again = self.ended[state:state + mt].all() and rng.random() < 0.5
        pitch, out_pitch = self._pitch(CONFIG.o_words, groups, mt), self._pitch(CONFIG.out_words, nt, mt)
        sinks = rng.random() < 0.5
        return self.normalize(
            *(() if again else ("first",)), *(("sinks",) if sinks else ()), *(("wide",) if wide else ()), mt=mt, nt=nt,
            state=state, o_pitch=pitch, out_pitch=out_pitch,
            sink=self._spot(CONFIG.state_words, mt) if sinks and not again else rng.getrandbits(16),
            o=self._spot(CONFIG.o_words, (mt - 1) * pitch + groups),
            out=self._spot(CONFIG.out_words, (mt - 1) * out_pitch + nt),
            lse=self._spot(CONFIG.state_words, mt))

    def random_command(self) -> VectorCommand:
        """A legal command."""
        return self.random_softmax() if self.rng.random() < 0.7 else self.random_normalize()


def _nonfinite(words: np.ndarray) -> np.ndarray:
    return words & np.uint32(0x7F800000) == np.uint32(0x7F800000)


class VectorBench(EngineBench):
    """The harness, plus inputs that appear with the command and the strobe ``nonfinite``."""

    def __init__(self, dut, **options):
        self.rng = random.Random(cocotb.RANDOM_SEED)
        start_clock(dut)
        self.model = VectorModel(dut, self.rng, **options)
        super().__init__(dut, self.model.buffers, SerialTimeline)
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
        """Fill the buffers at every acceptance; note for every finished command whether nonfinite was set."""
        valid, ready, done, nonfinite = (pin.get for pin in self._probes)
        edge = RisingEdge(self.dut.clk)
        accepted, flag = 0, False
        while True:
            await edge
            flag |= bool(nonfinite())
            if done():
                reported.append(flag)
                flag = False
            if valid() and ready():
                for (name, address), word in commands[accepted].inputs.items():
                    self.model.sources[name].storage[address] = word
                accepted += 1


@cocotb.test()
async def back_to_back(dut):
    """Random commands of interleaved row tiles without a gap."""
    bench = VectorBench(dut)
    model = bench.model
    commands = [model.random_command() for _ in range(150)]
    # Whatever the seed: a row that is masked in part, one without key beside one with a key, and the end.
    commands += [model.random_softmax(mt=1, limit=1), model.random_softmax(mt=1, limit=-4)]
    fields = {"mt": 1, "state": CONFIG.state_words - 1}
    commands.append(model.softmax("first", **fields, kt=2, s=0, s_pitch=0, rowmax=0, offsets=0, p=0, limit=0,
                                  heads=CONFIG.m - 1, head0=0))
    normalize = {**fields, "nt": 1, "o": 0, "o_pitch": 0, "out": 0, "out_pitch": 0, "lse": 0, "sink": 1}
    # With sinks and without, one behind the other, so that a row of one would be seen in the other.
    commands += [model.normalize("first", *flags, **normalize) for flags in ((), ("sinks",)) * 3]
    await bench.run(commands)
    assert bench.finished == len(commands)
    for event in ("masked row", "empty row", "rescaled row", "row without key",
                  "weighed row", "sink without key", "wide"):
        assert model.seen[event], f"no {event} among the commands"


@cocotb.test()
async def with_pauses(dut):
    """Random commands with random gaps."""
    bench = VectorBench(dut)
    await bench.run([bench.model.random_command() for _ in range(60)],
                    pause=lambda: bench.rng.choice([0, 0, 1, 3, 40]))


@cocotb.test()
async def special_values(dut):
    """NaN, infinities, zeros, subnormals and the largest numbers in scores and O."""
    bench = VectorBench(dut, special=0.04)
    await bench.run([bench.model.random_command() for _ in range(120)])
    assert bench.model.seen["nonfinite"] and bench.model.seen["nonfinite output"]


@cocotb.test()
async def scores_of_minus_infinity(dut):
    """Tiles in which every score of a row is -inf: the first ones, all, or later ones."""
    bench = VectorBench(dut, lost=0.5)
    model = bench.model
    await bench.run([model.random_command() for _ in range(120)])
    for event in ("lost at first", "lost again", "lost later", "found", "row without key"):
        assert model.seen[event], f"no {event} among the commands"
    assert not model.seen["nonfinite"]


@cocotb.test()
async def long_rows(dut):
    """One row tile over many tiles without mask, its end in several commands."""
    bench = VectorBench(dut)
    model = bench.model
    fields = {"mt": 2, "kt": min(6, CONFIG.s_words // (2 * P_PARTS)), "state": 1, "rowmax": 0, "offsets": 2,
              "s": 0, "s_pitch": CONFIG.s_words // 2, "p": 3, "limit": 1 << 20, "heads": 0, "head0": 0}
    model.spreads = [3.0]
    rise = max(3.0, 3.0 / float(np.uint32(model.scale).view(np.float32)))  # at least 3 after scaling
    commands = []
    for index in range(40):
        model.means = [index * rise]  # the row maxima rise
        commands.append(model.softmax(*(() if index else ("first",)), **fields))
    for flags in (("first", "sinks"), (), ("sinks",)):
        commands.append(model.normalize(*flags, mt=2, nt=1, state=1, o=0, o_pitch=OUT_PARTS, out=0,
                                        out_pitch=1, lse=3, sink=0))
    await bench.run(commands)
    assert model.seen["rescaled row"] > 30


@cocotb.test()
async def overhead(dut):
    """A command takes its lane groups, its rows once, and less than 150 cycles."""
    bench = VectorBench(dut)
    for mt, kt in ((1, 1), (3, 1), (2, CONFIG.s_words // (2 * P_PARTS))):
        command = bench.model.random_softmax(mt=mt, kt=kt)
        cycles = await bench.run([command])
        lane_groups = mt * max(kt * P_PARTS, CONFIG.m)
        assert lane_groups <= cycles <= lane_groups + mt * CONFIG.m + 150, f"{cycles} cycles, {mt} x {kt}"


def faults():
    """Fields and flags of commands at fault, by the model's method."""
    softmax = {"mt": 2, "kt": 2, "s": 0, "s_pitch": 2 * P_PARTS, "rowmax": 0, "state": 0, "offsets": 0,
               "p": 0, "limit": 3, "heads": 0, "head0": 0}
    normalize = {"mt": 2, "nt": 1, "o": 0, "o_pitch": OUT_PARTS, "state": 0, "out": 0, "out_pitch": 1,
                 "lse": 0, "sink": 0}
    for name in ("mt", "kt"):
        yield "softmax", ("first",), softmax | {name: 0}
        yield "softmax", ("first",), softmax | {name: 65535}
    yield "softmax", ("first",), softmax | {"s_pitch": 65535}
    for name, words in (("s", CONFIG.s_words), ("p", CONFIG.l1_words), ("rowmax", CONFIG.state_words),
                        ("state", CONFIG.state_words), ("offsets", CONFIG.state_words)):
        for start in (words - 1, words, 65535, *wraps(words, 24 if name == "p" else 16)):
            yield "softmax", ("first",), softmax | {name: start}
    last = CONFIG.s_words - 2 * P_PARTS  # of row group 0
    for pitch in wraps(CONFIG.s_words, 16, base=last):
        yield "softmax", ("first",), softmax | {"s": last, "s_pitch": pitch}
    yield "softmax", ("first",), softmax | {"p": (1 << 24) - 1}
    for name in ("mt", "nt"):
        yield "normalize", ("first",), normalize | {name: 0}
        yield "normalize", ("first",), normalize | {name: 65535}
    for name in ("o_pitch", "out_pitch"):
        yield "normalize", ("first",), normalize | {name: 65535}
    for name, words in (("o", CONFIG.o_words), ("out", CONFIG.out_words), ("lse", CONFIG.state_words),
                        ("state", CONFIG.state_words)):
        for start in (words - 1, words, 65535, *wraps(words, 16)):
            yield "normalize", ("first",), normalize | {name: start}
    for name, words, used in (("o", CONFIG.o_words, OUT_PARTS), ("out", CONFIG.out_words, 1)):
        for pitch in wraps(words, 16, base=words - used):
            yield "normalize", ("first",), normalize | {name: words - used, f"{name}_pitch": pitch}
    for start in (CONFIG.state_words - 1, CONFIG.state_words, 65535, *wraps(CONFIG.state_words, 16)):
        yield "normalize", ("first", "sinks"), normalize | {"sink": start}
    for start in (CONFIG.state_words - 1, CONFIG.state_words):  # without the row pass
        yield "normalize", (), normalize | {"state": start}


@cocotb.test()
async def faults_stop_the_engine(dut):
    """Every fault, behind zero to two legal commands, a legal one behind it; then a clean start."""
    bench = VectorBench(dut)
    model = bench.model
    for kind, flags, fields in faults():
        before = [model.random_command() for _ in range(bench.rng.randint(0, 2))]
        faulty = getattr(model, kind)(*flags, **fields)
        assert faulty.fault, f"{kind} {fields}"
        model.forget()
        behind = model.random_command()
        await bench.run([*before, faulty, behind])
        model.forget()
        await bench.run([model.random_command()])
