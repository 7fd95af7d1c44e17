"""Partition: which rows and keys of which request each core of a machine computes, and which of the results it merges.

Rows are cut between row groups, keys at multiples of one number of keys, the same for all requests, so that the result
of a request depends on its own shape and these cuts alone. The cuts are those of the lowest estimated time.
"""

import heapq
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from amla.rtl.config import CoreConfig

from ..compiler.key_cache import KeyCache
from ..compiler.plan import Piece, Share, split
from ..errors import AmlaError
from ..workload.workload import Workload

__all__ = ["MergeShare", "Partition", "partition"]

#: Cycles that a share takes beside what its engines do: the first keys on their way, the first block's softmax, the
#: last block's products and store. Of whole requests one begins under the end of the one before, so that a core pays
#: once. By the cycle model, 24 `deepseek` cores beside one HBM: 4,300 to 10,500.
_OVERHEAD = 7_000
#: The same of a merge.
_MERGE_OVERHEAD = 1_500


@dataclass(frozen=True)
class MergeShare:
    """Rows and columns of a request's O that one core merges from the partial results of all splits."""

    request: int
    rows: Piece
    columns: Piece


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The work of each core.

    Attributes
    ----------
    cuts:     keys at which every request is cut, in rising order
    rows:     ranges of a request's rows, each a share's, of requests that are cut at all
    shares:   of each core, in its order
    merges:   of each core, once all shares are done
    """

    cuts: tuple[int, ...]
    rows: tuple[Piece, ...]
    shares: tuple[tuple[Share, ...], ...]
    merges: tuple[tuple[MergeShare, ...], ...]

    @property
    def cores(self) -> int:
        """Cores that have work."""
        return sum(bool(own) for own in self.shares)


def partition(workload: Workload, config: CoreConfig, cores: int, *, rate: float, total_rate: float,
              row_parts: int | None = None, cut: int | None = None) -> Partition:
    """Share a workload out.

    Parameters
    ----------
    workload:   as the core sees it: of a sparse one each query token is a request of its own
    rate:       bytes a cycle of one core's port
    total_rate: bytes a cycle of all ports together
    row_parts:  ranges of rows of every request instead of the best number
    cut:        keys from one cut to the next instead of the best; a multiple of k

    Raises
    ------
    AmlaError: ``cut`` is no multiple of k, or there are not so many row groups.
    """
    groups = -(-workload.rows // config.m)
    if row_parts is not None and not 1 <= row_parts <= groups:
        raise AmlaError(f"row_parts must be from 1 to the {groups} row groups of a request, not {row_parts!r}")
    if cut is not None and (cut < config.k or cut % config.k):
        raise AmlaError(f"cut must be a multiple of k = {config.k}, not {cut!r}")
    rates = _Rates(workload, config, cores, rate, total_rate)
    parts = [row_parts] if row_parts else [count for count in (1, 2, 3, 4, 6, 8, 16) if count <= groups]
    cuts = [cut] if cut else rates.cuts()
    found = [_Deal(rates, parts, cut) for parts in parts for cut in cuts]
    # Beside every request alike: as many whole ones as all cores take in turns, only the others cut by rows.
    even = len(workload.lengths) // cores * cores
    if not row_parts and not cut and 0 < even < len(workload.lengths):
        found += [_Deal(rates, parts, max(cuts), whole=even) for parts in parts if parts > 1]
    return min(found, key=lambda deal: deal.cycles).partition()


@dataclass(frozen=True)
class _Rates:
    """What shares cost, in cycles."""

    workload: Workload
    config: CoreConfig
    cores: int
    rate: float
    total_rate: float

    def cuts(self) -> list[int]:
        """Numbers of keys to try: the longest request in one to as many splits as there are cores."""
        k, longest = self.config.k, max(max(self.workload.lengths), 1)
        most = min(self.cores, self.config.state_words - 1)  # splits that a core can merge
        return sorted({-(-longest // (count * k)) * k for count in range(1, most + 1)})

    def share(self, rows: int, keys: int, *, partial: bool) -> float:
        load, config = self.workload, self.config
        groups, tile = -(-rows // config.m), config.max_rows // config.m
        padded = -(-keys // config.k) * config.k
        cube = groups * padded * (load.head_dim + load.head_dim_v) / (config.n * config.k)
        passes = -(-groups // tile)
        port = min(self.rate, config.axi_data_bytes)
        keys_in = passes * keys * max(KeyCache.of(load).key_bytes / port, 2 * load.head_dim / config.axi_data_bytes)
        queries = 2 * rows * load.head_dim / port
        out = (4 if partial else 2) * rows * load.head_dim_v / port
        return max(cube, keys_in) + queries / 4 + out / (2 if partial else 4)

    def merge(self, size: int) -> float:
        """Of all cores, so many bytes of partial results."""
        return size / self.cores / min(self.rate, self.total_rate / self.cores) + _MERGE_OVERHEAD if size else 0


class _Deal:
    """Shares dealt out, the largest first, each to the core that is done first; the ``whole`` longest requests are not
    cut by rows."""

    def __init__(self, rates: _Rates, row_parts: int, cut: int, *, whole: int = 0):
        self._rates, self._cut = rates, cut
        load, config = rates.workload, rates.config
        self._whole = set(sorted(range(len(load.lengths)), key=lambda request: -load.lengths[request])[:whole])
        groups = math.ceil(load.rows / config.m)
        self._rows = tuple(
            Piece(piece.start * config.m, min(piece.stop * config.m, load.rows) - piece.start * config.m)
            for piece in split(groups, math.ceil(groups / row_parts)))
        shares = [*self._shares()]
        alone = [share.partial or share.rows.size < load.rows for share in shares]
        costs = [rates.share(share.rows.size, share.keys.size, partial=share.partial) + _OVERHEAD * by_itself
                 for share, by_itself in zip(shares, alone, strict=True)]
        self._cores: list[list[Share]] = [[] for _ in range(rates.cores)]
        heap = [(0.0 if all(alone) else float(_OVERHEAD), number) for number in range(rates.cores)]
        for index in sorted(range(len(shares)), key=lambda index: (-costs[index], index)):
            busy, number = heapq.heappop(heap)
            self._cores[number].append(shares[index])
            heapq.heappush(heap, (busy + costs[index], number))
        partial = sum(4 * load.head_dim_v * share.rows.size for share in shares if share.partial)
        moved = sum(share.keys.size for share in shares) * KeyCache.of(load).key_bytes + partial
        self.cycles = max(max(heap)[0], moved / rates.total_rate) + rates.merge(partial)

    def _shares(self) -> Iterator[Share]:
        for request, length in enumerate(self._rates.workload.lengths):
            pieces = [Piece(start, min(self._cut, length - start)) for start in range(0, max(length, 1), self._cut)]
            for rows in (Piece(0, self._rates.workload.rows),) if request in self._whole else self._rows:
                for keys in pieces:
                    yield Share(request, rows, keys, length, partial=len(pieces) > 1)

    def partition(self) -> Partition:
        """The result."""
        shares = tuple(tuple(sorted(own, key=lambda share: (share.request, share.rows.start, share.keys.start)))
                       for own in self._cores)
        longest = max(self._rates.workload.lengths)
        return Partition(cuts=tuple(range(self._cut, longest, self._cut)), rows=self._rows, shares=shares,
                         merges=self._merges())

    def _merges(self) -> tuple[tuple[MergeShare, ...], ...]:
        """Row groups of the requests that were cut, their columns in as many pieces as give every core some."""
        load, config, cores = self._rates.workload, self._rates.config, self._rates.cores
        cut = [request for request, length in enumerate(load.lengths) if length > self._cut]
        if not cut:
            return ((),) * cores
        ranges = [Piece(start, min(config.m, rows.stop - start))
                  for rows in self._rows for start in range(rows.start, rows.stop, config.m)]
        beat = config.beat_elements
        most = load.head_dim_v // beat
        columns = [Piece(piece.start * beat, piece.size * beat)
                   for piece in split(most, math.ceil(most / min(-(-cores // (len(cut) * len(ranges))), most)))]
        pieces = [MergeShare(request, rows, piece) for request in cut for rows in ranges for piece in columns]
        # Neighbours go to one core, as many to each as there are.
        edges = [len(pieces) * core // cores for core in range(cores + 1)]
        starts = {rows.start for rows in self._rows}
        return tuple(tuple(_joined(pieces[start:stop], starts)) for start, stop in pairwise(edges))


def _joined(pieces: Sequence[MergeShare], starts: Collection[int]) -> Iterator[MergeShare]:
    """Pieces that follow each other by rows as one, unless a share's rows begin between them."""
    whole: MergeShare | None = None
    for piece in pieces:
        if whole and (whole.request, whole.columns) == (piece.request, piece.columns) and (
                whole.rows.stop == piece.rows.start and piece.rows.start not in starts):
            whole = MergeShare(whole.request, Piece(whole.rows.start, whole.rows.size + piece.rows.size), whole.columns)
            continue
        if whole:
            yield whole
        whole = piece
    if whole:
        yield whole
