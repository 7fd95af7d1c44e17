"""What a model of a machine says of a workload, and which workloads the models know."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import AmlaError
from ..workload.workload import Workload
from .machine import Machine

__all__ = ["HEAD_DIM", "HEAD_DIM_V", "Estimate", "require_dense"]

#: Columns of a key and of a value: DeepSeek's, the only ones that the modelled programs have.
HEAD_DIM, HEAD_DIM_V = 576, 512


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Time of a workload on a machine.

    Attributes
    ----------
    parts:         what the time is made of, in seconds: their sum is the time
    bound_seconds: least time that the data sheet's rates allow
    bound_by:      "compute" or "memory"
    cores:         how many have work
    stages:        seconds of a stage that was measured by itself, by what :class:`~.machine.Published` calls it
    """

    parts: Mapping[str, float]
    bound_seconds: float
    bound_by: str
    cores: int
    stages: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """The time."""
        return sum(self.parts.values())


def require_dense(workload: Workload, machine: Machine) -> None:
    """Refuse what the program on the machine does not do.

    Raises
    ------
    AmlaError: the workload is sparse, FP8, has sinks or other columns, or no keys.
    """
    for key, value, rule in (
            ("topk", workload.topk, None), ("cache", workload.cache, ("bf16", "fp16", None)),
            ("sink", workload.sink, False), ("head_dim", workload.head_dim, HEAD_DIM),
            ("head_dim_v", workload.head_dim_v, HEAD_DIM_V)):
        if value not in (rule if isinstance(rule, tuple) else (rule,)):
            words = " or ".join(map(str, rule[:-1])) if isinstance(rule, tuple) else rule
            raise AmlaError(f"{workload.name}: {key} must be {words} on {machine.name}, not {value!r}")
    if not any(workload.lengths):
        raise AmlaError(f"{workload.name}: lengths must have a key on {machine.name}, not {list(workload.lengths)!r}")
