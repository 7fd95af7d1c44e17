"""What the cycle model keeps of a core: registers, queues, what is on its way, and what it has counted."""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from amla.model.fp.jit import njit
from amla.rtl.config import CoreConfig
from amla.rtl.engines.load import Load
from amla.rtl.engines.store import Store
from amla.rtl.host.dequantizer import ROWS
from amla.rtl.host.row_gather import RowGather
from amla.rtl.isa import ENGINE_STATES, MOST_ROWS, SEMAPHORES, Engine
from amla.rtl.issue.dispatch import MAX_UNFINISHED

from ..errors import AmlaError
from .latencies import core_of

__all__ = ["ENGINES", "NEVER", "Core", "Fifo", "after", "compiled", "core_at", "core_state", "pop", "push", "ready",
           "stack"]

#: Compiles a function that allocates nothing: without reference counts on views of a core's arrays, which would be nine
#: tenths of the time.
compiled = njit(_nrt=False, error_model="numpy")

ENGINES = len(Engine)
#: A cycle that does not come.
NEVER = 1 << 60

#: Registers of a core by unit, in the terms of its RTL; what an idle unit works on is -1, times are cycles from START.
_QUEUES = "pushed taken accepted finished waits holds accepts stalls done"
_UNITS = (
    "served granted chosen",  # semaphores
    "fetch_address fetch_remaining fetch_settling fetch_asking fetch_burst fetch_ahead fetch_place "
    "phase given index started asking requests fence halted halted_at begin section length",  # sequencer
    "feed feed_left feed_head",
    "cube cube_word cube_k cube_active cube_bank",
    "drain drain_group drain_fractal drain_column drain_row drain_target drain_row_target drain_loaded",
    "vector vector_begin vector_ready vector_period vector_row vector_left vector_source vector_bank vector_finish "
    "walk walk_at walk_item walk_split walk_pause p_valid",
    "captured decoded settling scales_left scales_sent",  # load
    "gather gather_settled gather_left gather_index gather_open gather_unrequested gather_room gather_scales_sent",
    "source source_left source_waits sort sort_scales sort_rows sort_place sort_units",
    "window convert convert_rows convert_beat convert_place convert_unit convert_room",
    "task task_reads task_beat task_row listed listed_read write write_last",
    "s_captured s_decoded s_settling s_task s_left s_burst_beat s_read s_read_last s_write s_write_last s_sending",
    "s_number s_issued s_told written answered",  # store's bursts
    "ar_valid ar_ident ar_address ar_beats ar_served r_ident r_number r_record r_taken bursts r_turn turns "
    "aw_ready w_ready b_valid",  # AXI
)
_REGISTERS = np.dtype([
    ("semaphores", np.int64, (SEMAPHORES,)), *((name, np.int64, (ENGINES,)) for name in _QUEUES.split()),
    *((name, np.int64) for unit in _UNITS for name in unit.split()),
])
#: Registers that begin as -1.
_NONE = ("granted chosen feed cube cube_bank drain vector vector_bank captured decoded gather source sort convert task "
         "s_captured s_decoded s_task r_ident r_number r_turn")

#: A burst generator: the region's next run; the run ahead; the one under way; the burst at its output.
_GENERATOR = np.dtype([(name, np.int64) for name in (
    "left", "address", "pitch", "rows", "beats", "waits", "ahead_address", "ahead_beats", "ahead_last",
    "active", "measured", "now_address", "now_beats", "now_last", "room", "valid", "burst_address", "burst_beats",
    "burst_last")])


class Fifo(IntEnum):
    """Which row of :attr:`Core.fifos` a queue is; from DONE on completions on their way, one for each engine."""

    TASKS = 0
    REQUESTS = 1
    LISTED = 2
    GATHERS = 3
    LISTS = 4
    RESULTS = 5
    VALUES = 6
    SCALES = 7
    CONVERTS = 8
    CONVERTED = 9
    FETCHED = 10
    P_WORDS = 11
    STORES = 12
    LENGTHS = 13
    UNANSWERED = 14
    DONE = 15


class Core(NamedTuple):
    """A core. Arrays of records have one; ``order``: commands of each engine, [engine, number]."""

    sizes: np.ndarray
    registers: np.ndarray
    generators: np.ndarray  # of load, of store
    fifos: np.ndarray
    table: np.ndarray
    entries: np.ndarray
    order: np.ndarray
    counts: np.ndarray  # commands of each engine
    issued: np.ndarray  # cycle in which a word of L0C was last issued
    drained: np.ndarray  # likewise of O, and of ROWMAX behind them
    answers: np.ndarray  # beats on their way, [ID, ring]: cycle
    numbers: np.ndarray  # of the burst that each belongs to, as its port counts them
    records: np.ndarray  # and as the core does
    arriving: np.ndarray  # head and count of each ring
    pushed_at: np.ndarray
    start: np.ndarray
    end: np.ndarray
    counters: np.ndarray  # [engine, state]
    reads: np.ndarray  # beats of one burst without another's between them: first beat, last beat, bytes
    writes: np.ndarray  # bursts, likewise
    pending: np.ndarray  # write responses on their way: cycle, in a ring
    pending_number: np.ndarray  # and number of the burst, as its port counts them
    write_address: np.ndarray  # of bursts that were issued, in a ring


def core_state(config: CoreConfig, table: np.ndarray, entries: np.ndarray, *, program: int = 0) -> Core:
    """A core before START.

    Parameters
    ----------
    table, entries: of its program
    program:        address of the program in GM

    Raises
    ------
    AmlaError: a command reaches past the end of L0C, O or ROWMAX, whose words are followed.
    """
    sizes = core_of(config)
    size = sizes[0]
    _check(config, table)
    beat = config.axi_data_bytes
    order = np.zeros((ENGINES, max(len(table), 1)), np.int64)
    counts = np.zeros(ENGINES, np.int64)
    for engine in Engine:
        own = np.flatnonzero(table["engine"] == engine)
        order[engine, :len(own)], counts[engine] = own, len(own)
    row_beats = -(-max(row.bytes for row in ROWS.values()) // beat) + 1
    list_beats = -(-MOST_ROWS * 4 // beat)
    depths = {
        Fifo.TASKS: Load.commands_ahead, Fifo.REQUESTS: MOST_ROWS, Fifo.LISTED: MOST_ROWS,
        Fifo.GATHERS: RowGather.ahead, Fifo.LISTS: (RowGather.ahead + 1) * list_beats,
        Fifo.RESULTS: size["listed"] + 4, Fifo.VALUES: 2 * row_beats,
        Fifo.SCALES: max(-(-MOST_ROWS * 8 // beat) + 1, 4), Fifo.CONVERTS: 2, Fifo.CONVERTED: size["dequantize"] + 6,
        Fifo.FETCHED: size["fetch_depth"], Fifo.P_WORDS: 256, Fifo.STORES: Store.commands_ahead,
        Fifo.LENGTHS: Store.bursts_ahead, Fifo.UNANSWERED: size["in_flight"],
        **{Fifo.DONE + engine: 2 * MAX_UNFINISHED for engine in range(ENGINES)},
    }
    fifos = np.zeros((Fifo.DONE + ENGINES, 3 + 2 * max(depths.values())), np.int64)
    for fifo, depth in depths.items():
        fifos[fifo, 2] = depth
    registers = np.zeros(1, _REGISTERS)
    first = registers[0]
    for name in _NONE.split():
        first[name] = -1
    first["gather_room"], first["convert_room"] = size["listed"] + 4, size["dequantize"] + 6
    halfwords = int(table["halfwords"].sum())
    first["fetch_address"], first["fetch_remaining"] = program, -(-2 * halfwords // beat)
    first["length"] = len(table)
    generators = np.zeros(2, _GENERATOR)
    generators["room"] = size["in_flight"]
    ring = 1 << (max(int(size["in_flight"]), int(size["fetch_depth"])) + 256).bit_length()
    fresh = -(1 << 40)
    bursts = int((table["runs"] * (table["beats"] * beat // 4096 + 2) + table["scales_beats"] + 1).sum()
                 + entries["read"].sum() * 3 + first["fetch_remaining"] + 16)
    return Core(
        sizes, registers, generators, fifos, table, entries, order, counts,
        np.full(config.l0c_words, fresh, np.int64), np.full(config.o_words + config.state_words, fresh, np.int64),
        np.zeros((2, ring), np.int64), np.zeros((2, ring), np.int64), np.zeros((2, ring), np.int64),
        np.zeros((2, 2), np.int64),
        np.full(len(table), NEVER, np.int64), np.full(len(table), -1, np.int64), np.full(len(table), -1, np.int64),
        np.zeros((ENGINES, len(ENGINE_STATES)), np.int64),
        np.zeros((bursts + 2 * int(first["fetch_remaining"]), 3), np.int64),  # a beat of fetch may part a burst
        np.zeros((bursts, 3), np.int64), np.zeros(size["in_flight"] + 1, np.int64),
        np.zeros(size["in_flight"] + 1, np.int64), np.zeros(size["in_flight"] + 1, np.int64),
    )


def stack(cores: Sequence[Core]) -> Core:
    """Cores in arrays with one more axis, the first, and zeros behind what is shorter."""
    def together(arrays: Sequence[np.ndarray]) -> np.ndarray:
        shape = np.max([array.shape for array in arrays], axis=0)
        whole = np.zeros((len(arrays), *shape), arrays[0].dtype)
        for place, array in zip(whole, arrays, strict=True):
            place[tuple(slice(size) for size in array.shape)] = array
        return whole

    return Core(*(together(arrays) for arrays in zip(*cores, strict=True)))


@compiled
def core_at(cores, number):
    """One of the cores of a :func:`stack`."""
    return Core(cores.sizes[number], cores.registers[number], cores.generators[number], cores.fifos[number],
                cores.table[number], cores.entries[number], cores.order[number], cores.counts[number],
                cores.issued[number], cores.drained[number], cores.answers[number], cores.numbers[number],
                cores.records[number], cores.arriving[number], cores.pushed_at[number], cores.start[number],
                cores.end[number], cores.counters[number], cores.reads[number], cores.writes[number],
                cores.pending[number], cores.pending_number[number], cores.write_address[number])


def _check(config: CoreConfig, table: np.ndarray) -> None:
    cube, drain = (table[table["engine"] == engine] for engine in (Engine.CUBE, Engine.DRAIN))
    to_o = drain[drain["flag"] == 1]
    for buffer, depth, ends in (
        ("L0C", config.l0c_words, [cube["target"] + cube["mt"] * cube["nt"],
                                   drain["source"] + drain["mt"] * drain["nt"]]),
        ("O", config.o_words, [to_o["target"] + (to_o["mt"] - 1) * to_o["target_pitch"]
                               + to_o["nt"] * (config.n // config.lanes)]),
        ("ROWMAX", config.state_words, [drain["state"] + drain["mt"]]),
    ):
        last = max((int(end.max()) for end in ends if len(end)), default=0)
        if last > depth:
            raise AmlaError(f"a command reaches word {last - 1} of {buffer}, which has {depth}")


@compiled
def push(fifo, value, cycle):
    """Write a word in ``cycle``; the caller has looked at the level."""
    place = 3 + 2 * ((fifo[0] + fifo[1]) % fifo[2])
    fifo[place], fifo[place + 1] = value, cycle
    fifo[1] += 1


@compiled
def ready(fifo, cycle, latency=2):
    """Whether a word can be read: ``latency`` cycles after its write (1: of a FIFO without an output register)."""
    return fifo[1] > 0 and fifo[4 + 2 * fifo[0]] + latency <= cycle


@compiled
def after(fifo):
    """The word that is read next."""
    return fifo[3 + 2 * fifo[0]]


@compiled
def pop(fifo):
    """Read a word."""
    value = fifo[3 + 2 * fifo[0]]
    fifo[0] = (fifo[0] + 1) % fifo[2]
    fifo[1] -= 1
    return value
