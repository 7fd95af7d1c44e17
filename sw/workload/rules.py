"""Rules of a workload's keys: every wrong value is one clear line."""

from typing import Any

from amla.model.checks import as_index
from amla.rtl.errors import shown

from ..errors import AmlaError

__all__ = ["integer", "integers", "known_keys", "require"]


def require(ok: object, key: str, rule: str, value: object) -> None:
    """AmlaError ``<key> must be <rule>, not <value>`` unless ``ok``."""
    if not ok:
        raise AmlaError(f"{key} must be {rule}, not {shown(value)}")


def integer(key: str, value: object, low: int, high: int) -> int:
    """An integer of any kind from ``low`` to ``high`` as an int; else AmlaError that names the key."""
    number = as_index(value)
    require(number is not None and low <= number <= high, key, f"an integer from {low} to {high}", value)
    return number  # type: ignore[return-value]


def integers(key: str, values: object, low: int, high: int, *, count: int | None = None) -> tuple[int, ...]:
    """A tuple of integers from ``low`` to ``high``, as many as ``count`` or at least one; else AmlaError."""
    rule = "a list of at least one integer" if count is None else f"a list of {count}, an integer for each request"
    require(isinstance(values, tuple) and (len(values) == count if count else len(values) > 0), key, rule, values)
    return tuple(integer(f"{key}[{index}]", value, low, high) for index, value in enumerate(values))  # type: ignore


def known_keys(source: str, values: Any, known: list[str]) -> dict[str, Any]:
    """A mapping with known keys only, its lists as tuples; else AmlaError."""
    if not isinstance(values, dict):
        raise AmlaError(f"{source} must be a mapping of keys to values, not {shown(values)}")
    for key in values:
        if key not in known:
            raise AmlaError(f"{source}: unknown key {shown(key)}; known keys are {', '.join(known)}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
