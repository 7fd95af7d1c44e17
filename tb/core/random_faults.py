"""Random programs around one command that may break several rules at once."""

import random
from collections.abc import Mapping, Sequence

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import COMMAND_BITS, FLAGS, GIVEN, HALFWORD_BITS, LAYOUTS, SEMAPHORE_MAX, Opcode, Semaphore
from amla.sw.compiler.footprint import buffer_words
from amla.sw.compiler.program import Command

from .fault_case import DATA, OUTPUT, READ_WINDOW, WRITE_WINDOW

__all__ = ["random_lists", "random_program"]

#: Field -> the buffer that it is the first word of, where every command means the same.
_BUFFERS = {"l1": "L1", "p": "L1", "l0a": "L0A", "l0b": "L0B", "l0c": "L0C", "s": "S", "o": "O", "rowmax": "ROWMAX",
            "offsets": "OFFSETS", "state": "STATE", "lse": "LSE", "sink": "SINK"}
_COUNTS = ("outer", "inner", "mt", "nt", "kt", "splits")

#: Entries of the lists of all programs, from DATA on.
_ENTRIES = 512
_FP8_COLS = {"fp8_656": 576, "fp8_584": 512}
#: Flags that come with rules of their own, which would hide the others.
_RARELY = {**dict.fromkeys(_FP8_COLS, 0.12), "sinks": 0.2}


def random_lists(rng: random.Random) -> bytes:
    """What lies at DATA: entries that are slots of pages of four, holes, and now and then a slot far away."""
    far = rng.choice((0.0, 0.1, 0.2))
    entries = [rng.choice((1 << 14, 1 << 26, (1 << 31) - 1)) if rng.random() < far else rng.randint(-5, 40)
               for _ in range(_ENTRIES)]
    return np.array(entries, "<i4").tobytes()


def random_program(rng: random.Random, config: CoreConfig) -> list[Command | int]:
    """Commands in order, then one at random, which may break any rules, then more in order and HALT.

    Words that are no command are given as integers.
    """
    before = rng.choice(([], [_good(rng, config)], [Command.build(Opcode.FENCE), _good(rng, config)]))
    masks: dict[str, Sequence[Semaphore]] = {"wait": (), "signal": ()}
    if rng.random() < 0.35:
        tokens = [Semaphore.KV_READY, *rng.choice(([], [Semaphore.S_FREE]))]
        before += [Command.build(Opcode.FENCE, signal=tokens)] * rng.choice((0, 1, SEMAPHORE_MAX, SEMAPHORE_MAX))
        masks = {name: rng.choice(((), tokens)) for name in masks}
    behind = [] if rng.random() < 0.5 else [_good(rng, config)]
    return [*before, _wild(rng, config, masks), *behind, Command.build(Opcode.HALT)]


def _good(rng: random.Random, config: CoreConfig) -> Command:
    """A command that finishes, on a core of any size."""
    outer = rng.randint(1, min(9, config.l0a_words, config.l0b_words, config.l1_words))
    inner = rng.randint(1, min(9, min(config.l0a_words, config.l0b_words) // outer))
    return Command.build(rng.choice((Opcode.FEED_A, Opcode.FEED_B)), outer=outer, inner=inner, outer_stride=1)


def _whole(word: int) -> int:
    """The word as one that gives all its halfwords, so that no other command is at fault with it."""
    return word & ~(0xFFFF << HALFWORD_BITS) | (1 << GIVEN) - 1 << HALFWORD_BITS


def _wild(rng: random.Random, config: CoreConfig, masks: Mapping[str, Sequence[Semaphore]]) -> Command | int:
    """A command whose fields are drawn from both sides of every rule; now and then just bits."""
    draw = rng.random()
    if draw < 0.03:
        return _whole(rng.getrandbits(COMMAND_BITS))
    often = [Opcode.LOAD, Opcode.GATHER, Opcode.GATHER, Opcode.STORE]  # these break the most rules
    opcode = rng.choice([*Opcode, *often * 3])
    bounds = buffer_words(config)
    if draw < 0.1:
        return _whole(int(opcode) | rng.getrandbits(COMMAND_BITS - 8) << 8)
    # Of each kind of rule either all fields keep it, or each may break it.
    wild = {kind: rng.random() < 0.35 for kind in ("count", "word", "grid", "address")}
    beat, elements = config.axi_data_bytes, config.beat_elements
    base, window = (OUTPUT, WRITE_WINDOW) if opcode == Opcode.STORE else (DATA, READ_WINDOW)
    flags = {flag: rng.random() < _RARELY.get(flag, 0.5) for flag in FLAGS[opcode]}
    layout = next((flag for flag in _FP8_COLS if flags.get(flag)), None)

    def pick(kind: str, keeps: Sequence[int], breaks: Sequence[int]) -> int:
        return rng.choice(breaks if wild[kind] and rng.random() < 0.6 else keeps)

    def field(name: str) -> int:
        past = 1 << LAYOUTS[opcode][name].width
        if name in _COUNTS:
            return pick("count", (1, 2, 3), (0, 0, 9, 200, past - 1))
        if name in _BUFFERS:
            words = bounds["SINK" if flags.get("sinks") and name == "l1" else _BUFFERS[name]]
            banks = config.l1_banks if name == "l1" and opcode in (Opcode.LOAD, Opcode.GATHER) else 1
            return pick("word", (0, 0, banks), (words - banks, words - 1, words, 65535, banks + 1))
        if name in ("l0", "out"):
            return pick("word", (0, 1), (15, 31, 127, 128, 65535))
        if name in ("address", "list"):
            place = pick("address", (base, base + 5 * beat), (
                0, window[0] - beat, window[1] - beat, window[1], base + (1 << config.axi_address_bits),
                (1 << 48) - beat))
            return min(place + pick("grid", (0,), (1, beat // 2)), (1 << 48) - 1)
        if name in ("pitch", "page_bytes"):
            apart = pick("address", (0, beat, 4 * beat, 37 * 64), (0x8000, past - 256))
            return apart + pick("grid", (0,), (1, beat // 2))
        if name == "page_size":
            return pick("count", (4, 4, 16, 3, 1), (0, 1024, 1025, past - 1))
        if name == "cols":
            whole = (_FP8_COLS[layout],) if layout else (elements,) if flags.get("sinks") else (elements, 2 * elements)
            return pick("count", whole, (0, 0, past - elements)) + pick("grid", (0,), (1, 2))
        if name in ("rows", "rows_padded"):
            return pick("count", (1, 4, 9), (0, 0, min(500, past - 1), past - 1))
        if name == "row0":
            return rng.choice((0, 0, 1, 3, 255))
        if name.endswith(("stride", "pitch")):
            return pick("word", (0, 1, 2, 4), (100, 65535))
        if name == "limit":
            return rng.choice((-1, 0, 3, 99))
        return rng.choice((0, 1, 5))  # heads, head0

    names = Command.decode(int(opcode)).fields
    return Command.build(opcode, **masks, **{name: field(name) for name in names}, **flags)
