"""Memory preset: what a core's memory is like, loaded from YAML under ``configs/memory``."""

import math
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from amla.rtl.yaml_file import load_yaml

from ..errors import AmlaError

__all__ = ["IDEAL", "Memory"]

_MAX_LATENCY = 10_000

#: Integer fields of the arrays behind the bus: least and most.
_LIMITS = {
    "channels": (1, 64), "interleave_bytes": (128, 65_536), "banks": (1, 256), "row_bytes": (128, 65_536),
    "activate": (0, 1000), "precharge": (0, 1000), "row_cycle": (0, 1000), "refresh_interval": (0, 1_000_000),
    "refresh": (0, 100_000), "turnaround": (0, 1000),
}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory as one core sees it. Times are cycles of the core's clock. How they act: :mod:`amla.sw.memory.timing`.

    Attributes
    ----------
    name:             label in reports
    latency:          cycles from an address to its first beat when memory is idle and the row closed: fabric and array
    bytes_per_cycle:  peak data rate of this core's share, reads and writes together. None: nothing but the bus limits,
                      a beat a cycle each way; then there are no channels, banks, rows, refresh or turnaround either
    channels:         channels that share the rate evenly; each moves its data by itself
    interleave_bytes: consecutive bytes that lie in one channel, a power of two
    banks:            banks of a channel, each with one open row
    row_bytes:        bytes of a bank's row, a multiple of ``interleave_bytes``
    activate:         cycles from opening a row to its first access
    precharge:        cycles to close an open row
    row_cycle:        least cycles between two openings of rows in one bank
    refresh_interval: cycles from one refresh of all banks to the next; 0: none
    refresh:          cycles, at the end of every interval, in which no channel does anything else
    turnaround:       cycles that a channel loses between a read and a write, and between a write and a read
    out_of_order:     answers of different IDs come as each is ready; else all come in the order of their requests

    Raises
    ------
    AmlaError: a value breaks its rule.
    """

    name: str
    latency: int
    bytes_per_cycle: float | None = None
    channels: int = 1
    interleave_bytes: int = 256
    banks: int = 1
    row_bytes: int = 1024
    activate: int = 0
    precharge: int = 0
    row_cycle: int = 0
    refresh_interval: int = 0
    refresh: int = 0
    turnaround: int = 0
    out_of_order: bool = False

    def __post_init__(self) -> None:
        self._check("name", isinstance(self.name, str) and self.name, "a string")
        self._check("latency", type(self.latency) is int and 1 <= self.latency <= _MAX_LATENCY,
                    f"an integer from 1 to {_MAX_LATENCY}")
        rate = self.bytes_per_cycle
        self._check("bytes_per_cycle", rate is None or (type(rate) in (int, float) and 0.125 <= rate <= 1024),
                    "a number from 0.125 to 1024, or absent")
        for key, (low, high) in _LIMITS.items():
            value = getattr(self, key)
            self._check(key, type(value) is int and low <= value <= high, f"an integer from {low} to {high}")
        self._check("out_of_order", type(self.out_of_order) is bool, "true or false")
        self._check("interleave_bytes", self.interleave_bytes & (self.interleave_bytes - 1) == 0, "a power of two")
        self._check("row_bytes", self.row_bytes % self.interleave_bytes == 0,
                    f"a multiple of interleave_bytes = {self.interleave_bytes}")
        self._check("latency", self.latency > self.activate, f"more than activate = {self.activate}")
        self._check("refresh", self.refresh < self.refresh_interval or not (self.refresh or self.refresh_interval),
                    f"less than refresh_interval = {self.refresh_interval}")
        if rate is None:
            defaults = {field.name: field.default for field in fields(self)}
            for key in _LIMITS:
                self._check(key, getattr(self, key) == defaults[key], "absent without bytes_per_cycle")

    def _check(self, key: str, ok: object, rule: str) -> None:
        if not ok:
            raise AmlaError(f"{key} must be {rule}, not {getattr(self, key)!r}")

    def at(self, latency: int) -> "Memory":
        """The same memory, so many cycles away; its name says so."""
        return replace(self, name=f"{self.name}-{latency}", latency=latency)

    def rate(self, beat_bytes: int) -> float:
        """Most bytes per cycle in one direction over a bus of ``beat_bytes`` a cycle."""
        return min(self.bytes_per_cycle or math.inf, beat_bytes)

    def sustained(self, beat_bytes: float = math.inf) -> float:
        """Bytes per cycle that refresh leaves, at most ``beat_bytes``: in one direction over a bus, or in all."""
        busy = self.refresh / self.refresh_interval if self.refresh_interval else 0
        return min((self.bytes_per_cycle or math.inf) * (1 - busy), beat_bytes)

    def cycles(self, size: int, beat_bytes: int) -> int:
        """Fewest cycles to move ``size`` bytes in one direction over a bus of ``beat_bytes`` a cycle."""
        return math.ceil(size / self.sustained(beat_bytes))

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "memory") -> "Memory":
        """Build a memory from a mapping such as a YAML document; unknown and missing keys are errors."""
        if not isinstance(values, dict):
            raise AmlaError(f"{source} must be a mapping of keys to values, not {values!r}")
        known = {field.name: field for field in fields(cls)}
        for key in values:
            if key not in known:
                raise AmlaError(f"{source}: unknown key {key!r}; known keys are {', '.join(known)}")
        values = {"name": source.removesuffix(".yaml").removesuffix(".yml"), **values}
        missing = [key for key, field in known.items() if field.default is MISSING and key not in values]
        if missing:
            raise AmlaError(f"{source}: missing key {missing[0]!r}")
        try:
            return cls(**values)
        except AmlaError as error:
            raise AmlaError(f"{source}: {error}") from None

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Memory":
        """Load ``configs/memory/<name>.yaml`` or a YAML file given by its path."""
        path, values = load_yaml(name_or_path, kind="memory", folder="memory", error=AmlaError)
        return cls.from_dict(values, source=path.name)


#: The preset ``ideal``: the default everywhere.
IDEAL = Memory.load("ideal")
