"""What ``amla explore`` does: evaluates a space, tells how far it is, writes table and page."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amla.rtl.files import check_folder, write
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import AmlaError
from .evaluate import MODEL, version
from .page import render_page
from .run import TABLE, explore
from .run import Progress as Told
from .space import Space

__all__ = ["PAGE", "explore_space"]

#: The page, in a folder of results.
PAGE = "explore.html"

#: Seconds between two lines where there is no terminal.
_EVERY = 5.0


def explore_space(name: str, *, out: Path | None, workers: int | None, scheduler: str | None,
                  console: Console) -> None:
    """Evaluate what is missing of a space, write :data:`~.run.TABLE` and :data:`PAGE`, and print their paths.

    Raises
    ------
    AmlaError: an option or the space is wrong, or see :func:`~.run.explore`.
    """
    if workers is not None and workers < 1:
        raise AmlaError(f"--workers must be at least 1, not {workers}")
    if workers is not None and scheduler is not None:
        raise AmlaError("--workers must be given without --scheduler, whose workers are there already")
    space = Space.load(name)
    out = out or Path("build/explore") / space.name
    check_folder(out)
    with _progress(console) as progress:
        table = explore(space, out, progress=progress, workers=workers, scheduler=scheduler)
    page = render_page(table.to_pylist(), name=space.name, axes=space.axes, model=MODEL, version=version())
    write({out / PAGE: page})
    broken = sum(reason is not None for reason in table["reason"].to_pylist())
    if broken:
        console.print(f"{broken:,} of {len(table):,} points cannot be; the table and the page say why")
    for path in (out / TABLE, out / PAGE):
        print(path)


@contextmanager
def _progress(console: Console) -> Iterator[Told]:
    """A bar on a terminal; elsewhere a line at the start, every few seconds, and at the end."""
    if console.is_terminal:
        columns = TextColumn("points"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("points")
            yield lambda done, total: bar.update(task, completed=done, total=total)
        return
    began = last = -_EVERY
    first = 0

    def line(done: int, total: int) -> None:
        nonlocal began, last, first
        now = time.monotonic()
        if began < 0:
            began, first = now, done
        if done in (first, total) or now - last >= _EVERY:
            rate = (done - first) / max(now - began, 1e-9)
            left = f", {rate:.1f} a second, {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
            console.print(f"   {done:,} of {total:,} points{left}")
            last = now

    yield line
