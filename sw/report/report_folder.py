"""``amla report``: the page, the Perfetto trace and the plots of a results folder."""

import json
from collections.abc import Callable
from pathlib import Path

from ..errors import AmlaError
from .page import render_page
from .perfetto import trace_events
from .results import read_folder

__all__ = ["write_pages"]


def write_pages(folder: Path, *, plots: bool = False) -> list[Path]:
    """Write report.html, with a run on the RTL trace.json, and with ``plots`` PNG files; returns their paths.

    Raises
    ------
    AmlaError: the folder is not what ``amla run`` leaves, cannot be written, or matplotlib is missing.
    """
    results = read_folder(folder)
    made: list[Path] = []

    def keep(name: str, content: Callable[[], str]) -> None:
        path = folder / name
        try:
            text = content()
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise AmlaError(f"{folder} must hold what `amla run` leaves, not {error!r}") from None
        partial = path.with_suffix(".partial")
        try:
            partial.write_text(text)
            partial.replace(path)
        except OSError as error:
            raise AmlaError(f"cannot write {path}: {error.strerror}") from None
        made.append(path)

    keep("report.html", lambda: render_page(results))
    if results.trace is not None:
        keep("trace.json", lambda: json.dumps(trace_events(results), separators=(",", ":")) + "\n")
    if plots:
        from .plots import write_plots  # matplotlib is optional, and slow to load

        made += write_plots(results, folder)
    return made
