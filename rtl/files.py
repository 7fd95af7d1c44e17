"""Files that a user's path names: written whole or not at all, in UTF-8; and names that may become files."""

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .errors import AmlaError, reason

__all__ = ["FILE_NAME", "check_folder", "is_file_name", "make_folder", "write"]

#: Rule of :func:`is_file_name`, as messages state it.
FILE_NAME = "a file name of printable characters, at most 100 bytes"


def is_file_name(value: Any) -> bool:
    """Whether ``value`` may be part of a file's name: inside its folder, with what programs add to it."""
    return (isinstance(value, str) and value.isprintable() and value not in ("", ".", "..")
            and not set(value) & set("/\\") and len(value.encode()) <= 100)


def write(files: Mapping[Path, str | bytes]) -> None:
    """Write every file whole, or none of them.

    Only a regular file, or nothing, is replaced, in one step; of a symlink that is its target. A device, a pipe and
    the like are written to as they are, last.

    Raises
    ------
    AmlaError: a file cannot be written.
    """
    partial: list[tuple[Path, Path, Path]] = []
    streams: list[tuple[Path, bytes]] = []
    with ExitStack() as cleaning:
        for path, content in files.items():
            try:
                data = content.encode() if isinstance(content, str) else content
                if _is_stream(path):
                    streams.append((path, data))
                    continue
                target = Path(os.path.realpath(path))
                folder = tempfile.mkdtemp(prefix=".amla-", dir=target.parent)
                cleaning.callback(shutil.rmtree, folder, ignore_errors=True)
                new = Path(folder, target.name)
                new.write_bytes(data)
                if target.exists():
                    shutil.copymode(target, new)
                partial.append((path, new, target))
            except (OSError, ValueError) as error:
                raise _cannot_write(path, error) from None
        for path, new, target in partial:
            try:
                new.replace(target)
            except OSError as error:
                raise _cannot_write(path, error) from None
        for path, data in streams:
            try:
                path.write_bytes(data)
            except OSError as error:
                raise _cannot_write(path, error) from None


def _is_stream(path: Path) -> bool:
    """Whether there is something that takes bytes and is no regular file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(None, "Is a directory")
    return not stat.S_ISREG(mode)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises
    ------
    AmlaError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise AmlaError(f"cannot make the folder {folder}: {reason(error)}") from None


def check_folder(folder: Path) -> None:
    """Refuse before a long run what :func:`make_folder` or :func:`write` would refuse after it.

    Raises
    ------
    AmlaError: there is something else of the name, or nothing can be written there.
    """
    try:
        place = next(one for one in (folder.absolute(), *folder.absolute().parents) if one.exists())
    except OSError as error:
        raise AmlaError(f"cannot write into {folder}: {reason(error)}") from None
    if not place.is_dir():
        raise AmlaError(f"cannot write into {folder}: {place} is not a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise AmlaError(f"cannot write into {folder}: {place} cannot be written")


def _cannot_write(path: Path, error: Exception) -> AmlaError:
    return AmlaError(f"cannot write {path}: {reason(error)}")
