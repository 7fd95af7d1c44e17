"""Seeded random jobs for small cores: every kind of workload, all preloads, lost keys, non-finite values, memories."""

import random
from dataclasses import dataclass

from amla.rtl.config import CoreConfig
from amla.sw.compiler.memory_map import Job, build_job
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.inputs import Inputs

from .random_workloads import random_workload
from .special_inputs import list_twice, lose_keys, with_special_sinks, with_specials

__all__ = ["JOB_CYCLES", "RandomJob", "random_job"]

#: More cycles than a random job takes, beside any memory that it draws.
JOB_CYCLES = 100_000


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomJob:
    """A job, its inputs, and how memory behaves beside what the job was built for.

    Attributes
    ----------
    latency, stall: as of :class:`~amla.tb.host.axi.AxiMemory`
    """

    job: Job
    inputs: Inputs
    finite: bool
    latency: tuple[int, int] | None
    stall: float

    def __str__(self) -> str:
        load = self.job.workload
        lists = "" if load.topk is None else (
            f"lists of {load.topk} (of which {load.topk_lengths} count, window {load.window}), extra {load.extra}, ")
        return (
            f"{load.heads} heads, {load.q_tokens} tokens{' causal' if load.causal else ''}, "
            f"keys {load.lengths}, {lists}"
            f"{load.cache or self.job.config.format} {load.head_dim}/{load.head_dim_v}, pages of {load.page_size}, "
            f"{load.inputs} inputs{' and sinks' if load.sink else ''}{'' if self.finite else ' with specials'}, "
            f"scale {load.scale:.3g}, preload {self.job.plan.preload}, "
            f"memory {self.job.plan.memory.name}, latency {self.latency}, stall {self.stall}"
        )


def random_job(rng: random.Random, config: CoreConfig, memory: Memory | None = None, *,
               base: int | None = None) -> RandomJob:
    """Draw a workload that fits ``config`` and needs at most some thousand cycles of its cube, and unless given a
    memory; ``ideal`` gets a latency at random. The job lies from address ``base`` on."""
    workload, preload = random_workload(rng, config)
    inputs = make_inputs(workload, format=config.format)
    finite = True
    if workload.topk is not None and rng.random() < 0.3:
        inputs = list_twice(rng, inputs)
    if workload.head_dim > workload.head_dim_v and rng.random() < 0.3:
        finite = config.format == "bf16"  # FP16 has no finite key whose scores overflow
        inputs = lose_keys(inputs, [
            rng.choice((config.kv_block, 2 * config.kv_block, rng.randint(0, sequence.length), sequence.length))
            for sequence in inputs.sequences])
    if rng.random() < 0.15:
        finite = False
        inputs = with_specials(rng, inputs)
    if workload.sink and rng.random() < 0.4:
        finite = False
        inputs = with_special_sinks(rng, inputs)
    if memory is None:
        memory = rng.choice((IDEAL, IDEAL, Memory.load("hbm"), Memory.load("slow")))
    low = rng.choice((1, 3, 20, 60))
    latency = (low, low + rng.choice((0, 0, 10, 50)))
    return RandomJob(
        job=build_job(workload, inputs, config, preload=preload, memory=memory, base=base),
        inputs=inputs,
        finite=finite,
        latency=latency if memory == IDEAL else None,
        stall=rng.choice((0.0, 0.0, 0.1, 0.5)),
    )
