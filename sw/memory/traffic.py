"""What moved between a core and memory, over time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Burst", "Traffic"]

#: A burst, or the part of it that no other burst's beats interrupt: cycle of its first beat, cycle of its last, bytes.
Burst = tuple[int, int, int]

#: Traffic over time: most buckets, and cycles of the shortest.
_BUCKETS = 4096
_BUCKET_CYCLES = 16


@dataclass
class Traffic:
    """What moved, burst by burst."""

    reads: list[Burst] = field(default_factory=list)
    writes: list[Burst] = field(default_factory=list)

    def clear(self) -> None:
        """Forget everything."""
        self.reads.clear()
        self.writes.clear()

    @property
    def read_bytes(self) -> int:
        """Bytes read, all bursts."""
        return sum(size for *_, size in self.reads)

    @property
    def written_bytes(self) -> int:
        """Bytes of write bursts, strobed or not."""
        return sum(size for *_, size in self.writes)

    @staticmethod
    def peak(bursts: Sequence[Burst], *, cycles: int = 64) -> float:
        """Most bytes per cycle over any ``cycles`` cycles; a burst's bytes are spread over its duration."""
        if not bursts:
            return 0.0
        first, last, size = np.array(bursts, np.int64).T
        rate = np.zeros(last.max() - first.min() + cycles + 2)
        np.add.at(rate, first - first.min(), size / (last - first + 1))
        np.add.at(rate, last - first.min() + 1, -size / (last - first + 1))
        total = np.concatenate([[0.0], np.cumsum(np.cumsum(rate))])
        return float(np.max(total[cycles:] - total[:-cycles])) / cycles

    def over_time(self, origin: int, cycles: int) -> dict[str, np.ndarray]:
        """Bytes per bucket of cycles, from cycle ``origin`` on; a burst's bytes are spread over its duration.

        Returns "bucket" (cycles of a bucket, a power of two such that there are at most 4096) and, float64 per
        bucket, "read" and "written". Beats outside the ``cycles`` cycles are left out.
        """
        bucket = _BUCKET_CYCLES
        while bucket * _BUCKETS < cycles:
            bucket *= 2
        edges = np.minimum(np.arange(0, cycles + bucket, bucket), cycles)
        found: dict[str, np.ndarray] = {"bucket": np.array(bucket)}
        for name, bursts in (("read", self.reads), ("written", self.writes)):
            rate = np.zeros(cycles + 1)
            first, last, size = np.array(bursts, np.int64).reshape(-1, 3).T
            share = size / (last - first + 1)
            np.add.at(rate, np.clip(first - origin, 0, cycles), share)
            np.add.at(rate, np.clip(last + 1 - origin, 0, cycles), -share)
            total = np.concatenate([[0.0], np.cumsum(np.cumsum(rate[:-1]))])
            found[name] = np.diff(total[edges])
        return found
