"""Programs of a partition: of each core one for its shares, and, when all are done, one for its merges."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from amla.model.attention.split_kv import key_splits
from amla.rtl.config import CoreConfig
from amla.rtl.isa import Opcode

from ..compiler.key_cache import KeyRun, KeySource
from ..compiler.loads import Addresses
from ..compiler.plan import Piece, Share
from ..compiler.program import Command
from ..compiler.schedule import schedule
from ..compiler.tiling import plan_tiles
from ..cycles.model import simulate
from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..workload.workload import Workload
from .merge import Merge, schedule_merge
from .partition import Partition
from .share import RowsResult, schedule_share

__all__ = ["Phases", "programs_of"]


@dataclass(frozen=True, kw_only=True)
class Phases:
    """Programs that run one phase after the other, each HALT last; None: the core has nothing to do.

    Attributes
    ----------
    shares, merges: of each core; ``merges`` is empty when nothing was cut
    kv_block:       keys of a KV block, of all shares
    end:            first byte behind the partial results
    """

    shares: tuple[tuple[Command, ...] | None, ...]
    merges: tuple[tuple[Command, ...] | None, ...]
    kv_block: int
    end: int


def programs_of(
    partition: Partition, workload: Workload, config: CoreConfig, keys: KeySource, addresses: Addresses, *,
    partials: int, preload: int = 1, memory: Memory = IDEAL, kv_block: int | None = None, listed: bool = False,
) -> Phases:
    """Schedule a partition.

    Parameters
    ----------
    workload:  as the core sees it: of a sparse one each query token is a request of its own
    addresses: of the arrays, all requests
    partials:  byte address of the partial results, a multiple of the beat
    memory:    what each core's programs expect
    kv_block:  keys of a KV block instead of the best for the longest share
    preload, listed: as of :func:`~amla.sw.compiler.tiling.plan_tiles`

    Raises
    ------
    AmlaError: the workload does not suit the core.
    """
    return _Builder(partition, workload, config, keys, addresses, partials,
                    {"preload": preload, "memory": memory, "listed": listed}, kv_block).build()


class _Builder:
    def __init__(self, partition: Partition, workload: Workload, config: CoreConfig, keys: KeySource,
                 addresses: Addresses, partials: int, options: dict, kv_block: int | None):
        self._partition, self._workload, self._config, self._keys = partition, workload, config, keys
        self._addresses, self._options = addresses, options
        self._block = kv_block or self._best_block()
        self._results, self._end = self._places(partials)

    def _best_block(self) -> int:
        """Keys of a KV block, the best for the longest share.

        A partial share is short: what its first and last block cost counts as much as what lies between. So it is run
        on the cycle model, wherever in a page it begins, with the tiler's choice and with blocks that fit pages.
        """
        shares = [share for own in self._partition.shares for share in own]
        longest = max(shares, key=lambda share: share.keys.size)
        load, config = self._workload, self._config
        part = longest if longest.rows.size < load.rows or longest.partial else None
        block = plan_tiles(replace(load, lengths=(longest.keys.size,)), config, share=part, **self._options).kv_block
        if not longest.partial:
            return block
        alike = {share.keys.start % load.page_size: share for share in shares
                 if (share.rows.size, share.keys.size) == (longest.rows.size, longest.keys.size)}
        sizes = {block, *(load.page_size << step >> 2 for step in range(4))}
        return min(sorted(sizes), key=lambda size: max(self._cycles(share, size) for share in alike.values()))

    def _cycles(self, share: Share, block: int) -> float:
        """Of a share by itself; infinite if it does not fit."""
        try:
            commands = schedule_share(
                self._workload, share, self._config, self._keys, q=self._addresses.q, kv_block=block,
                result=RowsResult(share.rows, self._addresses.o, self._addresses.lse), **self._options)[1]
        except AmlaError:
            return inf
        return simulate(commands, self._config, self._options["memory"]).cycles

    def build(self) -> Phases:
        cut = any(self._partition.merges)
        return Phases(shares=tuple(map(self._shares, self._partition.shares)),
                      merges=tuple(map(self._merges, range(len(self._partition.merges)))) if cut else (),
                      kv_block=self._block, end=self._end)

    def _places(self, begin: int) -> tuple[Mapping[tuple[int, int, int], RowsResult], int]:
        """Where the result of each share is, by request, first row and first key; and the end of the partial ones.

        Those of the splits of a row range lie at an even pitch, so that a merge loads the LSE of a row group as one.
        """
        load, beat = self._workload, self._config.axi_data_bytes
        groups = -(-load.rows // self._config.m)
        found, end = {}, begin
        shares = (share for own in self._partition.shares for share in own)
        for share in sorted(shares, key=lambda share: (share.request, share.rows.start, share.keys.start)):
            rows, group = share.rows, share.rows.start // self._config.m
            if share.partial:
                size = 4 * rows.size * load.head_dim_v
                lse = end + -(-size // beat) * beat
                result = RowsResult(rows, end, lse)
                end = lse + -(-rows.size // self._config.m) * beat
            else:
                first = share.request * load.rows + rows.start
                result = RowsResult(rows, self._addresses.o + 2 * first * load.head_dim_v,
                                    self._addresses.lse + (share.request * groups + group) * beat)
            found[share.request, rows.start, share.keys.start] = result
        return found, end

    def _shares(self, own: Sequence[Share]) -> tuple[Command, ...] | None:
        """Whole requests together, so that one begins under the end of the one before; the others one by one."""
        whole = [share for share in own if not share.partial and share.rows.size == self._workload.rows]
        programs = [self._whole([share.request for share in whole])] if whole else []
        for share in own:
            if share not in whole:
                result = self._results[share.request, share.rows.start, share.keys.start]
                programs.append(schedule_share(
                    self._workload, share, self._config, self._keys, q=self._addresses.q, result=result,
                    sink=None if share.partial else self._addresses.sink, kv_block=self._block, **self._options)[1])
        return _chained(programs)

    def _whole(self, requests: Sequence[int]) -> list[Command]:
        load = replace(self._workload, lengths=tuple(self._workload.lengths[request] for request in requests))
        plan = plan_tiles(load, self._config, kv_block=self._block, **self._options)
        return schedule(plan, replace(self._addresses, requests=requests), _Chosen(self._keys, requests))[0]

    def _merges(self, core: int) -> tuple[Command, ...] | None:
        load, config, cuts = self._workload, self._config, self._partition.cuts
        groups = -(-load.rows // config.m)
        sinks = None if self._addresses.sink is None else [
            self._addresses.sink + group * config.axi_data_bytes for group in range(groups)]
        programs = []
        for piece in self._partition.merges[core]:
            part = next(rows for rows in self._partition.rows if rows.start <= piece.rows.start < rows.stop)
            merge = Merge(
                request=piece.request, rows=piece.rows, columns=piece.columns, width=load.head_dim_v, sinks=sinks,
                parts=[self._results[piece.request, part.start, first]
                       for first, _ in key_splits(cuts, load.lengths[piece.request])],
                o=self._addresses.o + 2 * piece.request * load.rows * load.head_dim_v,
                lse=self._addresses.lse + piece.request * groups * config.axi_data_bytes
                if piece.columns.start == 0 else None)
            programs.append(schedule_merge(merge, config)[0])
        return _chained(programs)


@dataclass(frozen=True)
class _Chosen:
    """The keys of some requests as those of all."""

    keys: KeySource
    requests: Sequence[int]

    @property
    def whole(self) -> bool:
        return self.keys.whole

    def runs(self, sequence: int, keys: Piece) -> Iterator[KeyRun]:
        return self.keys.runs(self.requests[sequence], keys)


def _chained(programs: Sequence[Sequence[Command]]) -> tuple[Command, ...] | None:
    """Programs as one: a FENCE in place of every HALT but the last."""
    if not programs:
        return None
    fence = Command.build(Opcode.FENCE)
    return tuple(command if command.opcode != Opcode.HALT or program is programs[-1] else fence
                 for program in programs for command in program)
