"""The command set: one 256-bit layout per command, defined here and nowhere else.

The assembler, the disassembler, the command simulator, the RTL decoders and ``docs/isa.md`` all derive
from :data:`LAYOUTS`. A command is one little-endian 256-bit word: a 64-bit header (opcode, flags,
semaphore masks) and a 192-bit payload whose fields depend on the opcode.

The high four bits of an opcode name the engine that executes it.

In memory a program is a stream of halfwords (16 bits). A command is its first two, then those of its other 14 that
the mask ``given`` in the second names, from the lowest on; the others are as in the command before it with the same
:func:`reference`, zero in the first one. A command that gives all 14 is its 256-bit word.
"""

import enum

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

__all__ = [
    "COMMAND_BITS", "COMMAND_BYTES", "ENGINE_STATES", "FIELD_DOCS", "FLAGS", "GIVEN", "HALFWORDS", "HALFWORD_BITS",
    "HEADER_BITS", "INDEX_BITS", "LAYOUTS", "MAX_LENGTH", "MOST_ROWS", "MOST_SLOTS", "REFERENCES", "SEMAPHORES",
    "SEMAPHORE_MAX", "Engine", "Fault", "Header", "Opcode", "Semaphore", "reference",
]

COMMAND_BITS = 256
COMMAND_BYTES = COMMAND_BITS // 8
HEADER_BITS = 64
HALFWORD_BITS = 16
#: Halfwords of a command, and those of them that a program may leave out: all but the first two.
HALFWORDS = COMMAND_BITS // HALFWORD_BITS
GIVEN = HALFWORDS - 2
#: Kinds of command whose last one is remembered.
REFERENCES = 32
#: Width of a command's index in its program.
INDEX_BITS = 24
#: Halfwords that a program may have: a larger PROGRAM_LENGTH counts as this.
MAX_LENGTH = (1 << INDEX_BITS) - 1
SEMAPHORES = 16
#: Rows that a LOAD of an FP8 layout, and a GATHER, may read.
MOST_ROWS = 128
#: Slots that a page of a GATHER's cache may have.
MOST_SLOTS = 1024
#: Largest value of a semaphore; a signal past it is the fault SEMAPHORE_OVERFLOW.
SEMAPHORE_MAX = 63


@enum.unique
class Engine(enum.IntEnum):
    """Engines, in the order of every per-engine register, counter and trace lane."""

    SEQUENCER = 0
    LOAD = 1
    FEED = 2
    CUBE = 3
    DRAIN = 4
    VECTOR = 5
    STORE = 6


#: The states of an engine, exactly one per cycle, in the order of its counters in the register map: what each means.
ENGINE_STATES = {
    "BUSY": "executing a command",
    "WAIT_SEMAPHORE": "a command at the head of the queue waits for its semaphores",
    "WAIT_MEMORY": "executing, but stalled on memory or a buffer hazard",
    "IDLE": "the queue is empty",
}


@enum.unique
class Opcode(enum.IntEnum):
    """Operation codes; ``opcode >> 4`` is the :class:`Engine`."""

    FENCE = 0x01
    HALT = 0x02
    LOAD = 0x10
    GATHER = 0x11
    FEED_A = 0x20
    FEED_B = 0x21
    MMAD = 0x30
    DRAIN_S = 0x40
    DRAIN_O = 0x41
    SOFTMAX = 0x50
    NORMALIZE = 0x51
    MERGE = 0x52
    STORE = 0x60


@enum.unique
class Fault(enum.IntEnum):
    """Values of the register ERROR_CODE."""

    NONE = 0
    UNKNOWN_OPCODE = 1
    TRUNCATED_PROGRAM = 2  # PROGRAM_LENGTH halfwords fetched and no HALT among them
    BAD_FIELD = 3  # a count of zero, or an address, pitch or program base that is not a multiple of the beat
    READ_WINDOW = 4
    WRITE_WINDOW = 5
    READ_SLVERR = 6
    READ_DECERR = 7
    WRITE_SLVERR = 8
    WRITE_DECERR = 9
    BUFFER_OVERRUN = 10  # a tile reaches past the end of its buffer
    SEMAPHORE_OVERFLOW = 11
    WATCHDOG = 12  # no progress for WATCHDOG cycles: a deadlocked program, or memory that never answers


@enum.unique
class Semaphore(enum.IntEnum):
    """Use of the 16 semaphores by our scheduler (a convention of software; the core gives them no meaning)."""

    Q_READY = 0
    Q_FREE = 1
    KV_READY = 2
    KV_FREE = 3
    L0_READY = 4
    L0_FREE = 5
    L0C_READY = 6
    SCORES_FREE = 7  # a slot of L0C
    VALUES_FREE = 8  # a slot of L0C
    DRAINED = 9  # S for SOFTMAX, or O for NORMALIZE, in the vector engine's order
    S_FREE = 10
    P_READY = 11
    P_FREE = 12  # a slot of P and its row offsets
    O_FREE = 13
    OUT_READY = 14
    OUT_FREE = 15


#: Header common to all commands.
Header = data.StructLayout({
    "opcode": unsigned(8),
    "flags": unsigned(8),
    "given": unsigned(HALFWORD_BITS),
    "wait": unsigned(SEMAPHORES),
    "signal": unsigned(SEMAPHORES),
})


def reference(head):
    """Which remembered command one with this first halfword may repeat, below :data:`REFERENCES`: the last one of the
    same engine, the same lowest bit of its opcode and the same flag 0. Of an integer or an Amaranth value."""
    return (head >> 4 & 7) << 2 | (head & 1) << 1 | head >> 8 & 1


_MASK = {"limit": signed(24), "heads": unsigned(16), "head0": unsigned(16)}

#: Payload fields of each command, from bit 64 upwards. Unused bits must be zero.
_PAYLOADS = {
    Opcode.FENCE: {},
    Opcode.HALT: {},
    Opcode.LOAD: {
        "address": unsigned(48), "pitch": unsigned(32), "rows": unsigned(16), "rows_padded": unsigned(16),
        "cols": unsigned(16), "l1": unsigned(24), "row0": unsigned(8),
    },
    Opcode.GATHER: {
        "address": unsigned(48), "list": unsigned(48), "l1": unsigned(24), "row0": unsigned(8), "rows": unsigned(8),
        "rows_padded": unsigned(8), "page_bytes": unsigned(24), "page_size": unsigned(11), "cols": unsigned(11),
    },
    Opcode.FEED_A: {
        "l1": unsigned(24), "l0": unsigned(16), "outer": unsigned(16), "inner": unsigned(16),
        "outer_stride": unsigned(16), "inner_stride": unsigned(16),
    },
    Opcode.FEED_B: {
        "l1": unsigned(24), "l0": unsigned(16), "outer": unsigned(16), "inner": unsigned(16),
        "outer_stride": unsigned(16), "inner_stride": unsigned(16), "group_stride": unsigned(16),
    },
    Opcode.MMAD: {
        "l0a": unsigned(16), "l0b": unsigned(16), "l0c": unsigned(16),
        "mt": unsigned(16), "nt": unsigned(16), "kt": unsigned(16),
    },
    Opcode.DRAIN_S: {
        "l0c": unsigned(16), "mt": unsigned(16), "nt": unsigned(16),
        "s": unsigned(16), "s_pitch": unsigned(16), "rowmax": unsigned(16), **_MASK,
    },
    Opcode.DRAIN_O: {
        "l0c": unsigned(16), "mt": unsigned(16), "nt": unsigned(16),
        "o": unsigned(16), "o_pitch": unsigned(16), "offsets": unsigned(16),
    },
    Opcode.SOFTMAX: {
        "s": unsigned(16), "s_pitch": unsigned(16), "rowmax": unsigned(16), "state": unsigned(16),
        "offsets": unsigned(16), "mt": unsigned(16), "kt": unsigned(16), "p": unsigned(24), **_MASK,
    },
    Opcode.NORMALIZE: {
        "o": unsigned(16), "o_pitch": unsigned(16), "state": unsigned(16), "out": unsigned(16),
        "out_pitch": unsigned(16), "lse": unsigned(16), "mt": unsigned(16), "nt": unsigned(16), "sink": unsigned(16),
    },
    Opcode.MERGE: {
        "l1": unsigned(24), "l1_pitch": unsigned(16), "split_pitch": unsigned(24), "splits": unsigned(8),
        "mt": unsigned(16), "nt": unsigned(16), "state": unsigned(16), "sink": unsigned(16), "lse": unsigned(16),
        "out": unsigned(16), "out_pitch": unsigned(16),
    },
    Opcode.STORE: {
        "address": unsigned(48), "pitch": unsigned(32), "rows": unsigned(16), "cols": unsigned(16),
        "out": unsigned(16), "out_pitch": unsigned(16),
    },
}

#: Flags of each command: name -> bit of ``flags``.
FLAGS = {
    Opcode.FENCE: {},
    Opcode.HALT: {},
    Opcode.LOAD: {"a_side": 0, "fp8_656": 1, "fp8_584": 2, "sinks": 3},
    Opcode.GATHER: {"a_side": 0, "fp8_656": 1, "fp8_584": 2},
    Opcode.FEED_A: {},
    Opcode.FEED_B: {"transpose": 0},
    Opcode.MMAD: {"accumulate": 0, "weights": 1},
    Opcode.DRAIN_S: {"first": 0},
    Opcode.DRAIN_O: {"first": 0},
    Opcode.SOFTMAX: {"first": 0},
    Opcode.NORMALIZE: {"first": 0, "sinks": 1, "wide": 2},
    Opcode.MERGE: {"first": 0, "sinks": 1},
    Opcode.STORE: {"lse": 0},
}


def _layout(payload):
    used = sum(shape.width for shape in payload.values())
    pad = COMMAND_BITS - HEADER_BITS - used
    assert pad >= 0, f"payload of {used} bits does not fit {COMMAND_BITS - HEADER_BITS}"
    fields = {"header": Header, **payload}
    if pad:
        fields["pad"] = unsigned(pad)
    return data.StructLayout(fields)


#: Full 256-bit layout of each command: ``header`` then the payload fields.
LAYOUTS = {opcode: _layout(payload) for opcode, payload in _PAYLOADS.items()}

#: What each payload field and flag means, for the docs and for ``amla schedule``.
FIELD_DOCS = {
    "address": "byte address in GM, a multiple of the AXI beat; with an FP8 layout of 16; GATHER: of the cache",
    "list": "byte address in GM of the list, a multiple of the AXI beat: an int32 per row, page · 2^s + offset, where "
            "2^s is the smallest power of two that holds page_size slots; a negative number is a row of zeros",
    "page_bytes": "bytes from one page to the next, a multiple of the AXI beat; with an FP8 layout of 16",
    "page_size": f"slots of a page, at most {MOST_SLOTS}",
    "pitch": "bytes from one row to the next in GM, a multiple of the AXI beat; with `fp8_584` bytes from `address` to "
             "the first row's scales, with either FP8 layout a multiple of 8",
    "rows": "rows transferred",
    "rows_padded": "rows written to L1; those past `rows` become zeros (LOAD with `sinks`: words of SINK)",
    "cols": "16-bit elements per row (for STORE with `lse` ignored), a multiple of the elements of a beat",
    "l1": "first L1 word (LOAD with `sinks`: first SINK word; MERGE: of the splits' FP32 rows)",
    "l1_pitch": "L1 words per row group of a split",
    "split_pitch": "L1 words from one split to the next",
    "splits": "splits to merge",
    "row0": "row inside the first row group at which the first row lands",
    "l0": "first L0A (L0B) word; words are written consecutively",
    "outer": "outer loop count",
    "inner": "inner loop count",
    "outer_stride": "L1 words from one outer step to the next",
    "inner_stride": "L1 words from one inner step to the next",
    "group_stride": "with `transpose`: L1 words from one row group to the next inside a k × k block",
    "l0a": "first L0A word; fractal (k-step, m-tile) is at l0a + ki·mt + mi",
    "l0b": "first L0B word; fractal (k-step, n-tile) is at l0b + ki·nt + ni",
    "l0c": "first L0C word; fractal (m-tile, n-tile) is at l0c + mi·nt + ni",
    "mt": "row groups (m rows each)",
    "nt": "n-fractals (MMAD, DRAIN_*); beats of a row (NORMALIZE, MERGE)",
    "kt": "k-fractals (MMAD); chunks of k columns (SOFTMAX)",
    "s": "first S word; lane group g of row group i is at s + i·s_pitch + g",
    "s_pitch": "S words per row group",
    "o": "first O word; lane group g of row group i is at o + i·o_pitch + g",
    "o_pitch": "O words per row group",
    "rowmax": "first word of the row-maximum buffer, one word per row group",
    "state": "first word of the row state, one word per row group; MERGE: of the factors, that of split i of row group "
             "r at state + i·mt + r, behind them the last factors",
    "offsets": "first word of the row offsets, one word per row group",
    "p": "first L1 word of P; chunk c of row group i is at p + i·kt + c",
    "limit": "valid columns of the first row, counted from the tile's first column (may be negative or large)",
    "heads": "rows per query token: the limit grows by one from token to token, by at most 15 (0: one for all)",
    "head0": "position of the first row inside its token",
    "out": "first OUT word (STORE with `lse`: first LSE word); beat j of row group i is at out + i·out_pitch + j",
    "out_pitch": "OUT words per row group",
    "lse": "first word of the LSE buffer, one word per row group",
    "sink": "first word of the SINK buffer, one word per row group; MERGE: of the splits' LSE, in the order of the "
            "factors, behind them with `sinks` the sinks",
    "a_side": "row groups of m rows (A operand) instead of n (B operand)",
    "fp8_656": f"rows are FP8 tokens of 656 bytes, one behind the other, at most {MOST_ROWS}; cols is 576",
    "fp8_584": f"rows are FP8 tokens of 576 + 8 bytes, the values one behind the other, the scales likewise, at most "
               f"{MOST_ROWS}; cols is 512",
    "sinks": "LOAD: each row is one beat, the m FP32 words of a row group's sinks in its low bytes, and goes to SINK; "
             "NORMALIZE, MERGE: with `first`, weigh the sinks into the rows' last factor; the LSE does not count them",
    "wide": "OUT holds FP32, two halfwords each, the last rounding left out: a beat has half as many columns",
    "transpose": "write the transposed k × k blocks: V is read as K's rows",
    "weights": "L0A holds P, in P's format, not Q",
    "accumulate": "start from L0C's content instead of +0",
    "first": "first tile of its rows: no earlier content is read (NORMALIZE, MERGE: also compute the "
             "rows' factors and LSE)",
}
