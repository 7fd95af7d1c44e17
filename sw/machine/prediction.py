"""Prediction: how fast a workload is on a machine, what bounds it, and what others published or measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..report.utilisation import macs_of
from ..workload.workload import Workload
from . import ascend, gpu
from .estimate import Estimate
from .machine import AscendMachine, GpuMachine, Machine

__all__ = ["Comparison", "Prediction", "predict"]

#: The model of each kind of machine: an :class:`Estimate` of a workload.
_MODELS: dict[type[Machine], Callable[[Workload, Any], Estimate]] = {
    AscendMachine: ascend.estimate, GpuMachine: gpu.estimate}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A published or recorded figure of the same shape beside the prediction.

    Attributes
    ----------
    what, source: what was measured, and where the figure is from
    seconds:      the figure
    predicted:    the prediction of the same thing, in seconds
    ratio:        predicted / figure
    used:         the machine has a constant from this figure
    """

    what: str
    source: str
    seconds: float
    predicted: float
    used: bool

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.seconds


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Time of a workload on a machine.

    Attributes
    ----------
    workload, machine: their names
    seconds:     of one decode step
    flops:       useful ones: 2 x (576 + 512) for each key that a row sees
    bytes:       keys, queries and results, once
    utilisation: useful FLOPs / (seconds x the machine's peak)
    bound:       least ``seconds`` that the data sheet's rates allow, and what they are limited ``by``
    cores:       how many have work
    parts:       what the time is made of, in seconds
    published:   figures of the same shape
    """

    workload: str
    machine: str
    seconds: float
    flops: int
    bytes: int
    utilisation: float
    bound: dict[str, Any]
    cores: int
    parts: dict[str, float]
    published: tuple[Comparison, ...]

    def as_dict(self) -> dict[str, Any]:
        """The content of ``--json``."""
        return {**vars(self), "published": [{**vars(one), "ratio": one.ratio} for one in self.published]}


def predict(workload: Workload, machine: Machine) -> Prediction:
    """How fast a workload is on a machine.

    Raises
    ------
    AmlaError: the machine's program does not do the workload.
    """
    found = _MODELS[type(machine)](workload, machine)
    flops = 2 * macs_of(workload)
    stages = {"whole call": found.seconds, **found.stages}
    return Prediction(
        workload=workload.name, machine=machine.name, seconds=found.seconds, flops=flops,
        bytes=sum(2 * workload.head_dim * length + 2 * workload.rows * (workload.head_dim + workload.head_dim_v)
                  for length in workload.lengths),
        utilisation=flops / found.seconds / machine.peak_flops,
        bound={"seconds": found.bound_seconds, "by": found.bound_by}, cores=found.cores, parts=dict(found.parts),
        published=tuple(
            Comparison(what=one.what, source=one.source, seconds=one.seconds(flops), used=one.used,
                       predicted=stages.get(one.what, found.seconds))
            for one in machine.published if one.of(workload)))
