"""YAML files that a user names: by a name under ``configs/``, or by path."""

from pathlib import Path
from typing import Any

import yaml

from .errors import AmlaError, reason

__all__ = ["load_yaml"]

_CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def load_yaml(name_or_path: str | Path, *, kind: str, folder: str = "", error: type[AmlaError]) -> tuple[Path, Any]:
    """Path and content of ``configs/<folder>/<name>.yaml``, or of a file given by its path.

    Raises
    ------
    error: the ``kind`` of file cannot be read, or is no YAML.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = _CONFIGS / folder / f"{name_or_path}.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as why:
        raise error(f"cannot read {kind} {name_or_path}: {reason(why)}") from None
    except ValueError as why:
        raise error(f"{path.name}: not valid YAML: {reason(why)}") from None
    try:
        return path, yaml.safe_load(text)
    except Exception as why:  # beside YAMLError: whatever a tag's conversion raises on what it is given
        raise error(f"{path.name}: not valid YAML: {reason(why)}") from None
