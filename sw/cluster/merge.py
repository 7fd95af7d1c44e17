"""The merge program: partial results of the splits of a request's keys become its O and LSE.

A row tile's LSE go to SINK, its splits, a piece of the columns after the other, to L1; MERGE joins a piece while the
next ones are loaded, the first of a tile with the row pass. Rows and columns may be shared out over cores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from amla.rtl.config import CoreConfig
from amla.rtl.isa import SEMAPHORE_MAX, Opcode, Semaphore

from ..compiler.drafts import Draft, Ring
from ..compiler.plan import Piece, split
from ..compiler.program import Annotation, Command
from ..errors import AmlaError
from .share import RowsResult

__all__ = ["Merge", "schedule_merge"]

#: Pieces of the columns to aim for: loads, merges and stores overlap, and the last merge and store, which nothing
#: hides, are short.
_PIECES = 8
#: Slots of LSE, of L1 at least, and at most of SINK and of OUT. Where the factors of a row tile fit, so do two LSE
#: words of it.
_LSE_SLOTS, _L1_SLOTS, _SINK_SLOTS, _OUT_SLOTS = 2, 2, 2, 4


@dataclass(frozen=True, kw_only=True)
class Merge:
    """What a merge program does.

    Attributes
    ----------
    request: in the workload, for annotations
    parts:   a partial result for each split, in order of the keys; each has all of ``rows``
    rows:    range of the request's rows, which begins with a row group, and ends with one or with the request
    columns: range of the columns of O, both ends multiples of a beat's elements
    width:   columns of O
    o:       byte address of the request's O, 16 bits [rows, width]
    lse:     byte address of the request's LSE beats, one per row group; None: they are not stored
    sinks:   byte address of the beat of sinks of each of the request's row groups; None: no sinks
    """

    request: int
    parts: Sequence[RowsResult]
    rows: Piece
    columns: Piece
    width: int
    o: int
    lse: int | None
    sinks: Sequence[int] | None = None


def schedule_merge(merge: Merge, config: CoreConfig) -> tuple[list[Command], list[Annotation]]:
    """The commands, HALT last, of a merge; executed one by one they never block.

    Raises
    ------
    AmlaError: rows or columns are no whole row groups or beats, a part lacks rows, or the core's buffers are too small.
    """
    _check(merge, config)
    return _Scheduler(merge, config).commands()


class _Scheduler:
    """Emits the row tiles of a merge, piece by piece."""

    def __init__(self, merge: Merge, config: CoreConfig):
        self._merge, self._config = merge, config
        self._splits = len(merge.parts)
        words = self._splits + 1  # of SINK or the factors, per row group
        self._sink_slots = max(min(config.state_words // words, _SINK_SLOTS), 1)
        self._tiles, self._pieces = self._fit(words * self._sink_slots)
        groups, columns = self._tiles[0].size, self._pieces[0].size
        self._split_words = 2 * groups * columns // config.k
        self._slot_words = self._splits * self._split_words
        self._out_words = groups * columns // config.beat_elements
        self._drafts: list[Draft] = []
        slots = min(config.out_words // self._out_words, _LSE_SLOTS * len(self._pieces), _OUT_SLOTS)
        self._sink = Ring(self._sink_slots, Semaphore.Q_FREE)
        # All that L1 holds is on its way from memory while a piece is merged.
        self._l1_slots = min(config.l1_words // self._slot_words, SEMAPHORE_MAX)
        self._l1 = Ring(self._l1_slots, Semaphore.KV_FREE)
        self._out, self._out_slots = Ring(slots, Semaphore.OUT_FREE), slots

    def commands(self) -> tuple[list[Command], list[Annotation]]:
        for number, groups in enumerate(self._tiles):
            self._tile(number, groups)
        for ring in (self._sink, self._l1, self._out):
            ring.close()
        self._emit(Opcode.HALT)
        notes = [Annotation() if draft.opcode == Opcode.HALT else draft.note for draft in self._drafts]
        return [draft.command() for draft in self._drafts], notes

    def _fit(self, words: int) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
        """Row tiles, in row groups from the first one of ``rows``, each with ``words`` of SINK; pieces of the columns.

        Whole tiles are halved before pieces are: a long row makes long bursts.
        """
        merge, config = self._merge, self._config
        groups = min(-(-merge.rows.size // config.m), config.state_words // words)
        beats = -(-merge.columns.size // (_PIECES * config.beat_elements))
        while groups and beats:
            columns = beats * config.beat_elements
            l1_words = _L1_SLOTS * len(merge.parts) * groups * 2 * columns // config.k
            if l1_words <= config.l1_words and groups * beats <= config.out_words:
                tiles = split(-(-merge.rows.size // config.m), groups)
                return tiles, split(merge.columns.size, columns, multiple=config.beat_elements)
            groups, beats = (groups // 2, beats) if groups > 1 else (groups, beats // 2)
        raise AmlaError(f"{config.name} is too small to merge {self._splits} splits: a row group of them needs "
                        f"{words * config.m} rows of row state, of {config.state_rows}, and "
                        f"{_L1_SLOTS * self._splits * 2 * config.l1_banks} words of L1, of {config.l1_words}")

    def _tile(self, number: int, groups: Piece) -> None:
        merge, config = self._merge, self._config
        row = merge.rows.start + groups.start * config.m
        rows = min(groups.size * config.m, merge.rows.stop - row)
        words = (self._splits + (merge.sinks is not None)) * self._tiles[0].size
        sink, lse = number % self._sink_slots * words, number % _LSE_SLOTS * self._tiles[0].size
        load = self._load_rows(row, groups.size, sink)
        self._sink.take(load)
        for piece in self._pieces:
            first, l1 = piece is self._pieces[0], self._l1.taken % self._l1_slots * self._slot_words
            out, beats = self._out.taken % self._out_slots * self._out_words, piece.size // config.beat_elements
            self._load_splits(row, rows, groups.size, piece, l1)
            command = self._emit(
                Opcode.MERGE, l1=l1, l1_pitch=2 * piece.size // config.k, split_pitch=self._split_words,
                splits=self._splits, mt=groups.size, nt=beats, state=0, sink=sink, lse=lse, out=out, out_pitch=beats,
                first=first, sinks=merge.sinks is not None)
            command.waits_for(Semaphore.KV_READY)
            command.signals(Semaphore.OUT_READY)
            self._l1.give(command)
            self._out.take(command)
            if first:
                self._sink.give(command)
            self._store(row, rows, piece, out, beats, lse=lse if first and merge.lse is not None else None)

    def _load_rows(self, row: int, groups: int, sink: int) -> Draft:
        """Load the LSE of a row tile's splits, and its sinks, in few commands; returns the first one."""
        config, group = self._config, row // self._config.m
        lses = [part.lse + (group + number - part.rows.start // config.m) * config.axi_data_bytes
                for part in self._merge.parts for number in range(groups)]
        drafts = []
        for run in (*_evenly(lses), *_evenly((self._merge.sinks or ())[group:][:groups])):
            pitch = run[1] - run[0] if len(run) > 1 else config.axi_data_bytes
            drafts.append(self._emit(
                Opcode.LOAD, address=run[0], pitch=pitch, rows=len(run), rows_padded=len(run),
                cols=config.beat_elements, l1=sink, sinks=True))
            sink += len(run)
        return drafts[0]

    def _load_splits(self, row: int, rows: int, groups: int, piece: Piece, l1: int) -> None:
        """Load a piece of the columns of a row tile, split by split, FP32 as two halfwords."""
        merge, config = self._merge, self._config
        for number, part in enumerate(merge.parts):
            load = self._emit(
                Opcode.LOAD, a_side=True, pitch=4 * merge.width, rows=rows, rows_padded=groups * config.m,
                address=part.o + 4 * ((row - part.rows.start) * merge.width + merge.columns.start + piece.start),
                cols=2 * piece.size, l1=l1 + number * self._split_words)
            if number == 0:
                self._l1.take(load)
        load.signals(Semaphore.KV_READY)

    def _store(self, row: int, rows: int, piece: Piece, out: int, beats: int, *, lse: int | None) -> None:
        merge, config = self._merge, self._config
        stores = []
        if lse is not None:
            assert merge.lse is not None
            stores.append(self._emit(Opcode.STORE, address=merge.lse + row // config.m * config.axi_data_bytes,
                                     rows=rows, out=lse, lse=True))
        stores.append(self._emit(
            Opcode.STORE, address=merge.o + 2 * (row * merge.width + merge.columns.start + piece.start),
            pitch=2 * merge.width, rows=rows, cols=piece.size, out=out, out_pitch=beats))
        stores[0].waits_for(Semaphore.OUT_READY)
        self._out.give(stores[-1])

    def _emit(self, opcode: Opcode, **operands: int | bool) -> Draft:
        draft = Draft(opcode, operands, Annotation(request=self._merge.request, stage="merge"))
        self._drafts.append(draft)
        return draft


def _evenly(addresses: Sequence[int]) -> Iterator[Sequence[int]]:
    """Addresses cut into runs that rise by an even pitch."""
    start = 0
    for stop in range(1, len(addresses) + 1):
        pitches = [after - before for before, after in pairwise(addresses[start:stop + 1])]
        if stop == len(addresses) or pitches[-1] <= 0 or pitches[-1] != pitches[0]:
            yield addresses[start:stop]
            start = stop


def _check(merge: Merge, config: CoreConfig) -> None:
    beat = config.beat_elements
    if not merge.parts:
        raise AmlaError("a merge must have at least one split")
    if merge.rows.start % config.m or merge.rows.size < 1:
        raise AmlaError(f"rows of a merge must begin with a row group of {config.m}, not with {merge.rows.start}")
    if merge.columns.start % beat or merge.columns.size % beat or merge.columns.size < 1:
        raise AmlaError(f"columns of a merge must be whole beats of {beat} elements, not {merge.columns.start} to "
                        f"{merge.columns.stop}")
    for part in merge.parts:
        if merge.rows.start < part.rows.start or merge.rows.stop > part.rows.stop or part.rows.start % config.m:
            raise AmlaError(f"a split must have the rows {merge.rows.start} to {merge.rows.stop} of the merge, not "
                            f"{part.rows.start} to {part.rows.stop}")
