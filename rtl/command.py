"""What every command line does alike: it needs an extra, and it fails in one line.

Nothing here needs more than Python, so that it can tell what is missing. A module that is run with ``python -m`` opens
with ``if __name__ == "__main__": run(...)``, before it imports what may be missing.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from io import TextIOWrapper
from typing import NoReturn, TextIO

from .errors import AmlaError, reason

__all__ = ["one_line", "require", "run"]


def require(*extras: str) -> None:
    """Refuse unless the packages of extras of ``pyproject.toml`` are installed.

    Raises
    ------
    AmlaError: one is not.
    """
    missing = list(dict.fromkeys(package for extra in extras for package in _missing(extra)))
    if missing:
        raise AmlaError(f'this needs {", ".join(missing)}: pip install "amla[{",".join(extras)}]"')


def _missing(extra: str) -> Iterator[str]:
    for line in _requirements():
        found = re.fullmatch(rf"""([\w.-]+)(?:\[([\w,-]+)])?[^;]*;\s*extra == ["']{extra}["']""", line)
        if found is None:
            continue
        name, extras = found.groups()
        if name == "amla":
            for other in extras.split(","):
                yield from _missing(other)
        else:
            try:
                version(name)
            except PackageNotFoundError:
                yield name


def _requirements() -> list[str]:
    try:
        return requires("amla") or []
    except PackageNotFoundError:  # sources on the path, not installed: what is missing shows at its import
        return []


def run(module: str, *extras: str) -> NoReturn:
    """Import ``module``, once the packages of the extras are known to be there; end with the status of its main()."""
    with one_line():
        require(*extras)
        sys.exit(import_module(module).main())


@contextmanager
def one_line() -> Iterator[None]:
    """End with one line ``amla: …`` and a status where the user, or the place it runs in, is to blame for an error."""
    sys.stdout, sys.stderr = _open(sys.stdout), _open(sys.stderr)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a bar's blocks
    try:
        try:
            yield
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except AmlaError as error:
        _end(str(error), error.status)
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except BrokenPipeError:
        _end("", 141)  # as a shell tells of SIGPIPE
    except MemoryError as error:
        _end(f"out of memory: {reason(error)}", 2)
    except OSError as error:
        _end(": ".join(str(part) for part in (error.filename, reason(error)) if part), 2)


def _open(stream: TextIO | None) -> TextIO:
    """A standard stream, also where it is closed."""
    return stream or open(os.devnull, "w", encoding="utf-8")


def _end(message: str, status: int) -> NoReturn:
    with suppress(OSError):
        if message:
            line = " ".join(message.split())
            print("amla:", "".join(c if c.isprintable() else repr(c)[1:-1] for c in line), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # what is left of it would fail once more when Python ends
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
