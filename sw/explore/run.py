"""A space over Dask: what is known stays, what is missing is evaluated, and every batch is kept as it comes."""

import asyncio
import gc
import io
import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from amla.rtl.errors import reason
from amla.rtl.files import make_folder, write
from dask import config
from dask.system import CPU_COUNT
from distributed import Client, KilledWorker, LocalCluster, Security, WorkerPlugin, as_completed
from distributed.client import FutureCancelledError
from distributed.comm import connect

from ..errors import AmlaError
from .evaluate import MODEL, RESULTS, evaluate, version
from .space import Point, Space

__all__ = ["BATCH", "PARTS", "TABLE", "Progress", "explore", "read_parts"]

#: The table of a space, and the folder of what has been evaluated for it, in a folder of results.
TABLE, PARTS = "points.parquet", "parts"

#: Points that a worker evaluates at a time, and at most as many are lost with it: a few seconds.
BATCH = 8

#: Seconds to reach a scheduler.
_TIMEOUT = 10

_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_PART = pa.schema([("key", pa.string()), *((name, _TYPES[kind]) for name, (kind, _) in RESULTS.items())])

#: Loggers of Dask: what it has to say ends up in an AmlaError.
_LOGGERS = ("distributed", "distributed.client", "tornado", "asyncio")

#: Nobody looks at how our own processes spend their time.
_UNWATCHED = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "500ms",
              "distributed.admin.system-monitor.interval": "10s"}

_Rows = dict[str, dict[str, Any]]


class Progress(Protocol):
    """Is told how many points are done of how many: once at the start, then with every batch."""

    def __call__(self, done: int, total: int) -> None: ...


def explore(space: Space, out: Path, *, progress: Progress, workers: int | None = None,
            scheduler: str | None = None) -> pa.Table:
    """Evaluate what is missing of a space; write and return its table.

    The table has a row per point in the order of the space: ``key``, the axes, :data:`~.evaluate.RESULTS`. It is the
    same whatever evaluates it. Each batch of points is a file of its own in ``out/parts`` as soon as it is done, so a
    run that is cut off, by whatever, goes on where it was.

    Parameters
    ----------
    out:       folder of the results
    workers:   processes on this machine; None: one for each of its cores
    scheduler: address of a Dask scheduler, instead of processes on this machine

    Raises
    ------
    AmlaError: the scheduler is not reached or is lost, its workers have other code, a batch kills its workers, or a
        file cannot be read or written.
    """
    parts = out / PARTS
    make_folder(parts)
    points = {point.key(version()): point for point in space.points}
    known = {key: row for key, row in read_parts(parts).items() if key in points}
    missing = [key for key in points if key not in known]
    progress(len(known), len(points))
    if missing:
        batches = [missing[start:start + BATCH] for start in range(0, len(missing), BATCH)]
        with _client(min(workers or CPU_COUNT, len(batches)), scheduler) as client:
            for rows in _evaluated(client, [{key: points[key] for key in batch} for batch in batches]):
                _keep(parts, rows)
                known |= rows
                progress(len(known), len(points))
    table = _table(space, points, known)
    write({out / TABLE: _bytes(table)})
    return table


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    """A client of the scheduler at an address, or of processes that end with it."""
    _silence()
    if scheduler is not None:
        try:
            asyncio.run(_reach(scheduler))
        except (OSError, ValueError, TypeError) as error:
            raise AmlaError(f"--scheduler {scheduler} does not answer: {reason(error)}") from None
        with Client(scheduler, timeout=_TIMEOUT, set_as_default=False) as client:
            yield client
        return
    with TemporaryDirectory(prefix="amla-explore-") as folder, config.set(_UNWATCHED):
        with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
                          local_directory=folder) as cluster:
            with Client(cluster, set_as_default=False) as client:
                client.register_plugin(_Quiet())
                yield client


async def _reach(address: str) -> None:
    """Connect to an address once, as a client that cannot be made leaves threads behind."""
    await (await connect(address, timeout=_TIMEOUT, **Security().get_connection_args("client"))).close()


class _Quiet(WorkerPlugin):
    """A worker of ours leaves Ctrl-C, which goes to every process of a terminal's job, and all talk to its client."""

    def setup(self, worker: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _silence()


def _silence() -> None:
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _evaluated(client: Client, batches: Sequence[Mapping[str, Point]]) -> Iterator[_Rows]:
    """Rows by key, batch by batch as they are done."""
    futures = client.map(_evaluate, batches, expected=version(), pure=False, retries=0)
    for future in as_completed(futures, loop=client.loop):
        try:
            yield future.result()
        except KilledWorker:
            raise AmlaError("workers die of a batch of points, perhaps for want of memory; what is done is kept"
                            ) from None
        except (FutureCancelledError, OSError) as error:
            raise AmlaError(f"the scheduler is lost: {reason(error)}; what is done is kept") from None
        future.release()


def _evaluate(points: Mapping[str, Point], *, expected: str) -> _Rows:
    """Rows by key. Runs in a worker."""
    if version() != expected:
        raise AmlaError("the scheduler's workers have another version of amla")
    gc.disable()  # a fifth of the time: programs are many objects, and no circles
    try:
        return {key: _row(point) for key, point in points.items()}
    finally:
        gc.enable()


def _row(point: Point) -> dict[str, Any]:
    try:
        return evaluate(point)
    except MemoryError:
        raise
    except Exception as error:  # a fault of the model must not cost the other points
        return {**dict.fromkeys(RESULTS), "reason": f"{type(error).__name__}: {reason(error)}"}


def _keep(folder: Path, rows: _Rows) -> None:
    """Write a part, named after its first point."""
    content = [{"key": key, **row} for key, row in rows.items()]
    write({folder / f"{content[0]['key']}.parquet": _bytes(pa.Table.from_pylist(content, _PART))})


def read_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """Results by key: all that is in a folder of parts.

    Raises
    ------
    AmlaError: a file is no part.
    """
    known: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.parquet")):
        try:
            rows = pq.read_table(path, schema=_PART, partitioning=None).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise AmlaError(f"cannot read {path}: {reason(error)}") from None
        known |= {row.pop("key"): row for row in rows}
    return known


def _table(space: Space, points: Mapping[str, Point], known: _Rows) -> pa.Table:
    columns = {"key": pa.array(list(points), pa.string()),
               **{axis: pa.array([point.axes[axis] for point in points.values()]) for axis in space.axes},
               **{name: pa.array([known[key][name] for key in points], _TYPES[kind])
                  for name, (kind, _) in RESULTS.items()}}
    return pa.table(columns, metadata={"space": space.name, "model": MODEL, "version": version()})


def _bytes(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()
