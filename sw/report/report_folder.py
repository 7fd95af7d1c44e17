"""``amla report``: the page, the Perfetto trace and the plots of a results folder."""

import json
from pathlib import Path

from amla.rtl.files import write

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
    files: dict[Path, str | bytes] = {}
    try:
        files[folder / "report.html"] = render_page(results)
        if results.trace is not None:
            files[folder / "trace.json"] = json.dumps(trace_events(results), separators=(",", ":")) + "\n"
        if plots:
            from .plots import draw_plots  # slow to load

            files |= {folder / name: png for name, png in draw_plots(results).items()}
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise AmlaError(f"{folder} must hold what `amla run` leaves, not {error!r}") from None
    write(files)
    return list(files)
