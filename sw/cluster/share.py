"""A share of a request's work as a program of its own: a range of its rows over a range of its keys.

A partial result stays in GM until a merge program joins it with those of the other ranges (:mod:`~.merge`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from amla.rtl.config import CoreConfig

from ..compiler.key_cache import KeyRun, KeySource
from ..compiler.loads import Addresses
from ..compiler.plan import Piece, Plan, Share
from ..compiler.program import Annotation, Command
from ..compiler.schedule import schedule
from ..compiler.tiling import plan_tiles
from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..workload.workload import Workload

__all__ = ["RowsResult", "schedule_share"]


@dataclass(frozen=True)
class RowsResult:
    """Where the results of a range of a request's rows are in GM.

    Attributes
    ----------
    rows: the range, which begins with a row group
    o:    byte address of its first row, [rows, head_dim_v]: FP32 if partial, else 16 bits
    lse:  byte address of the beat of its first row group: FP32 of m rows in the low bytes, row groups a beat apart
    """

    rows: Piece
    o: int
    lse: int


def schedule_share(
    workload: Workload, share: Share, config: CoreConfig, keys: KeySource, *, q: int, result: RowsResult,
    sink: int | None = None, preload: int = 1, memory: Memory = IDEAL, kv_block: int | None = None,
    listed: bool = False,
) -> tuple[Plan, list[Command], list[Annotation]]:
    """The plan and the commands, HALT last, of a share.

    Parameters
    ----------
    workload: whole, as the core sees it: of a sparse one each query token is a request of its own
    share:    what to compute
    keys:     where the keys of the workload's requests are
    q:        byte address of Q, all requests
    result:   where the rows of the share go
    sink:     byte address of the beats of sinks of a request's row groups, unless there are none; those of a partial
              result are left to the merge
    kv_block: the same for all shares of a request, as it is part of a run's numerics; None: the best of this one
    preload, memory, listed: as of :func:`~.tiling.plan_tiles`

    Raises
    ------
    AmlaError: the share's rows are not whole row groups, its keys end in a chunk of k, or it does not suit the core.
    """
    _check(workload, share, config, result, sink)
    part = replace(workload, lengths=(share.keys.size,))
    plan = plan_tiles(part, config, preload=preload, memory=memory, kv_block=kv_block, listed=listed, share=share)
    # Rows are counted from the request's first one.
    row, columns = share.rows.start, workload.head_dim_v
    addresses = Addresses(
        q=q + 2 * share.request * workload.rows * workload.head_dim, sink=sink,
        o=result.o - 2 * plan.halves * row * columns,
        lse=result.lse - row // config.m * config.axi_data_bytes)
    commands, notes = schedule(plan, addresses, _Range(keys, share))
    return plan, commands, [note if note.request < 0 else replace(note, request=share.request) for note in notes]


def _check(workload: Workload, share: Share, config: CoreConfig, result: RowsResult, sink: int | None) -> None:
    ends = (*range(config.m, workload.rows, config.m), workload.rows)
    if share.rows.start % config.m or share.rows.stop not in ends or share.rows.size < 1:
        raise AmlaError(f"rows of a share must be whole row groups of {config.m} of the {workload.rows} rows of a "
                        f"request, not {share.rows.start} to {share.rows.stop}")
    if share.keys.stop > share.length or (share.keys.stop < share.length and share.keys.size % config.k):
        raise AmlaError(f"keys of a share must be a multiple of k = {config.k}, or end with the request's "
                        f"{share.length}, not {share.keys.start} to {share.keys.stop}")
    if share.partial and sink is not None:
        raise AmlaError("sinks must be left to the merge of partial results")
    if not share.partial and share.keys != Piece(0, share.length):
        raise AmlaError(f"a share that is not partial must have all {share.length} keys of its request, not "
                        f"{share.keys.start} to {share.keys.stop}")
    if result.rows != share.rows:
        raise AmlaError(f"result must be that of the rows of the share, {share.rows!r}, not {result.rows!r}")


@dataclass(frozen=True)
class _Range:
    """The keys of a share as those of the only request."""

    keys: KeySource
    share: Share

    @property
    def whole(self) -> bool:
        return self.keys.whole

    def runs(self, sequence: int, keys: Piece) -> Iterator[KeyRun]:
        return self.keys.runs(self.share.request, Piece(self.share.keys.start + keys.start, keys.size))

