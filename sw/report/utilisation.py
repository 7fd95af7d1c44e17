"""What a workload costs at least: useful MACs, bytes that must move, and the roofline of a core and its memory."""

from dataclasses import dataclass

from amla.rtl.config import CoreConfig

from ..memory.preset import IDEAL, Memory
from ..workload.workload import Workload

__all__ = ["Roofline", "bytes_of", "macs_of", "roofline_of"]


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The fewest cycles a core can take.

    Attributes
    ----------
    bound:          "compute" or "memory", whichever takes longer
    compute_cycles: useful MACs at one full fractal triple per cycle
    memory_cycles:  bytes to read, or to write where those are more, over the bus; or both at the rate of memory
    """

    compute_cycles: float
    memory_cycles: float

    @property
    def bound(self) -> str:
        return "memory" if self.memory_cycles > self.compute_cycles else "compute"

    @property
    def cycles(self) -> int:
        """The bound, in whole cycles."""
        return -int(-max(self.compute_cycles, self.memory_cycles) // 1)


def macs_of(workload: Workload) -> int:
    """Useful multiply-accumulates: (d + dv) for every key that a row sees. No padding, no masked column."""
    visible = 0
    for length in workload.lengths:
        for token in range(workload.q_tokens):
            hidden = workload.q_tokens - 1 - token if workload.causal else 0
            visible += max(length - hidden, 0)
    return visible * workload.heads * (workload.head_dim + workload.head_dim_v)


def bytes_of(workload: Workload) -> tuple[int, int]:
    """Bytes that must be read (queries, and every key once) and written (O in BF16, LSE in FP32)."""
    rows = workload.rows * len(workload.lengths)
    return 2 * workload.head_dim * (rows + sum(workload.lengths)), rows * (2 * workload.head_dim_v + 4)


def roofline_of(workload: Workload, config: CoreConfig, memory: Memory = IDEAL) -> Roofline:
    """The bound of a workload on a core: directions share the rate of memory, but each has the bus for itself."""
    moved = bytes_of(workload)
    shared = sum(moved) / memory.bytes_per_cycle if memory.bytes_per_cycle else 0
    return Roofline(compute_cycles=macs_of(workload) / config.macs_per_cycle,
                    memory_cycles=max(shared, max(moved) / config.axi_data_bytes))
