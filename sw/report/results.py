"""The results folder of one workload: what ``amla run`` keeps and ``amla report`` reads.

::

    report.json    figures, see :mod:`amla.sw.run.experiment`
    program.json   {"core": {...}, "commands": [{"engine", "text", "stage", "request", "tile", "block", "wait",
                   "signal"}, ...]}: the configuration and the program, in program order
    trace.npz      of a run on the RTL: engine, index, start, end of every command, and the traffic: bucket
                   (cycles) and read, written (bytes per bucket)
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from amla.rtl.errors import reason, shown
from amla.rtl.files import make_folder, write

from ..compiler.memory_map import Job
from ..compiler.program import members
from ..errors import AmlaError

__all__ = ["PROGRAM_FILE", "REPORT_FILE", "TRACE_FILE", "Results", "read_folder", "write_folder"]

REPORT_FILE = "report.json"
PROGRAM_FILE = "program.json"
TRACE_FILE = "trace.npz"

_TRACE = ("engine", "index", "start", "end")
_TRAFFIC = ("bucket", "read", "written")


@dataclass(frozen=True, kw_only=True)
class Results:
    """One results folder.

    Attributes
    ----------
    report:   content of report.json
    core:     the configuration's parameters by name
    commands: the program's commands, as dictionaries
    trace:    "engine", "index", "start", "end": one entry per command, cycles from START, end -1 when
              unfinished; None without a run on the RTL
    traffic:  "bucket", "read", "written"; None without a run on the RTL
    """

    report: dict[str, Any]
    core: Mapping[str, Any]
    commands: Sequence[Mapping[str, Any]]
    trace: Mapping[str, np.ndarray] | None = field(repr=False)
    traffic: Mapping[str, np.ndarray] | None = field(repr=False)


def write_folder(folder: Path, report: dict[str, Any], job: Job, arrays: Mapping[str, np.ndarray] | None) -> None:
    """Fill a results folder; ``arrays`` go to trace.npz, None (the command simulator) removes an earlier one.

    Raises
    ------
    AmlaError: it cannot be written; what an earlier run left is then still there.
    """
    program = job.program
    commands = [
        {"engine": command.engine.name.lower(), "text": str(command), "stage": note.stage, "request": note.request,
         "tile": note.tile, "block": note.block, "wait": [semaphore.name for semaphore in members(command.wait)],
         "signal": [semaphore.name for semaphore in members(command.signal)]}
        for command, note in zip(program.commands, program.annotations, strict=True)
    ]
    files: dict[Path, str | bytes] = {
        folder / PROGRAM_FILE: json.dumps({"core": asdict(job.config), "commands": commands}) + "\n",
        folder / REPORT_FILE: json.dumps(report, indent=2) + "\n",
    }
    if arrays is not None:
        archive = io.BytesIO()
        np.savez_compressed(archive, allow_pickle=False, **arrays)
        files[folder / TRACE_FILE] = archive.getvalue()
    make_folder(folder)
    write(files)
    if arrays is None:
        (folder / TRACE_FILE).unlink(missing_ok=True)


def read_folder(folder: Path) -> Results:
    """Read a results folder.

    Raises
    ------
    AmlaError: a file is missing, cannot be read or does not belong to the others.
    """
    report, program = _json(folder / REPORT_FILE, "workload"), _json(folder / PROGRAM_FILE, "core", "commands")
    commands = program["commands"]
    if not isinstance(commands, list):
        raise AmlaError(f"{folder / PROGRAM_FILE}: commands must be a list, not {shown(commands)}")
    trace = traffic = None
    if report.get("cycles") is not None:
        path = folder / TRACE_FILE
        try:
            with np.load(path) as archive:
                arrays = {name: archive[name] for name in (*_TRACE, *_TRAFFIC)}
        except Exception as error:  # NumPy raises half a dozen kinds for what is no archive
            raise AmlaError(f"cannot read {path} (`amla run` writes it): {reason(error)}") from None
        trace = {name: arrays[name] for name in _TRACE}
        traffic = {name: arrays[name] for name in _TRAFFIC}
        if len(trace["index"]) and not 0 <= trace["index"].min() <= trace["index"].max() < len(commands):
            raise AmlaError(f"{path} must be of the program in {PROGRAM_FILE} with {len(commands)} commands, "
                            f"not of one with command {int(trace['index'].max())}")
    return Results(report=report, core=program["core"], commands=commands, trace=trace, traffic=traffic)


def _json(path: Path, *expected: str) -> dict[str, Any]:
    """The object in a JSON file, with the keys ``expected`` of it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AmlaError(f"cannot read {path} (`amla run` writes it): {reason(error)}") from None
    for key in expected:
        if not isinstance(content, dict) or key not in content:
            raise AmlaError(f"{path} must hold {key!r}, not {shown(content)}")
    return content
