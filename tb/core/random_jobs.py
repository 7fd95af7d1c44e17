"""Seeded random workloads for small cores: odd shapes, empty requests, lost keys, non-finite values, all preloads."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from amla.rtl.config import CoreConfig
from amla.sw.compiler.memory_map import Job, build_job
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.inputs import Inputs
from amla.sw.workload.workload import MAX_TOKENS, Workload

__all__ = ["RandomJob", "lose_keys", "random_job"]

#: Cube cycles that one workload may need, so that hundreds stay a matter of minutes.
_CYCLES = 6000

_SPECIALS = (np.nan, np.inf, -np.inf, 3e38, -3e38)


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
        return (
            f"{load.heads} heads, {load.q_tokens} tokens{' causal' if load.causal else ''}, "
            f"keys {load.lengths}, "
            f"{load.head_dim}/{load.head_dim_v}, pages of {load.page_size}, {load.inputs} inputs"
            f"{'' if self.finite else ' with specials'}, scale {load.scale:.3g}, "
            f"preload {self.job.plan.preload}, "
            f"memory {self.job.plan.memory.name}, latency {self.latency}, stall {self.stall}"
        )


def random_job(rng: random.Random, config: CoreConfig, memory: Memory | None = None) -> RandomJob:
    """Draw a workload that fits ``config`` and needs at most some thousand cycles of its cube, and unless given a
    memory; ``ideal`` gets a latency at random."""
    unit = config.beat_elements
    dim_v = unit * rng.choice((1, 1, 2, 4))
    dim = dim_v + unit * rng.choice((0, 1, 1, 2))
    heads = rng.choice((1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 31, 32, 33, 40))
    tokens = rng.choice((1, 2, 3, 4, rng.randint(5, MAX_TOKENS)))
    lengths = [_length(rng, config) for _ in range(rng.choice((1, 1, 2, 3)))]
    while _cycles(config, heads * tokens, lengths, dim + dim_v) > _CYCLES:
        longest = max(lengths)
        lengths[lengths.index(longest)] = longest // 2
        if longest < config.k:
            heads = max(1, heads // 2)
    workload = Workload(
        name="random",
        heads=heads,
        q_tokens=tokens,
        causal=rng.random() < 0.6,
        lengths=tuple(lengths),
        head_dim=dim,
        head_dim_v=dim_v,
        page_size=rng.choice((16, 64, 128)),
        seed=rng.getrandbits(32),
        inputs="layer" if dim > dim_v and rng.random() < 0.7 else "normal",
        softmax_scale=rng.choice((None, None, 0.01, 1.0, 20.0)),
    )
    inputs = make_inputs(workload, format=config.format)
    finite = True
    if dim > dim_v and rng.random() < 0.3:
        finite = config.format == "bf16"  # FP16 has no finite key whose scores overflow
        inputs = lose_keys(workload, inputs, [
            rng.choice((config.kv_block, 2 * config.kv_block, rng.randint(0, length), length)) for length in lengths])
    if rng.random() < 0.15:
        finite = False
        inputs = _with_specials(rng, workload, inputs)
    if memory is None:
        memory = rng.choice((IDEAL, IDEAL, Memory.load("hbm"), Memory.load("slow")))
    low = rng.choice((1, 3, 20, 60))
    latency = (low, low + rng.choice((0, 0, 10, 50)))
    return RandomJob(
        job=build_job(workload, inputs, config, preload=rng.randint(0, 2), memory=memory),
        inputs=inputs,
        finite=finite,
        latency=latency if memory == IDEAL else None,
        stall=rng.choice((0.0, 0.0, 0.1, 0.5)),
    )


def lose_keys(workload: Workload, inputs: Inputs, counts: Sequence[int]) -> Inputs:
    """The inputs, but each request's first keys, as many as ``counts`` says, score -inf in every row."""
    q, cache = inputs.q.copy(), inputs.kv_cache.copy()
    q[..., -1] = 4.0
    for request, (count, length) in enumerate(zip(counts, workload.lengths, strict=True)):
        page, slot = np.divmod(np.arange(min(count, length)), workload.page_size)
        with np.errstate(over="ignore"):
            cache[inputs.block_table[request, page], slot, 0, -1] = -3e38  # finite in BF16, -inf in FP16
    return replace(inputs, q=q, kv_cache=cache)


def _length(rng: random.Random, config: CoreConfig) -> int:
    edge = rng.choice((config.kv_block, 2 * config.kv_block, 64, 128))
    return rng.choice((0, 1, rng.randint(2, config.kv_block), edge - 1, edge, edge + 1, rng.randint(0, 300)))


def _cycles(config: CoreConfig, rows: int, lengths: list[int], dims: int) -> float:
    padded = -(-rows // config.m) * config.m
    return sum(padded * (length + config.k) * dims for length in lengths) / config.macs_per_cycle


def _with_specials(rng: random.Random, workload: Workload, inputs: Inputs) -> Inputs:
    """Put infinities, NaN or huge numbers into valid places of q and the cache."""
    q, cache = inputs.q.copy(), inputs.kv_cache.copy()
    for _ in range(rng.randint(1, 4)):
        value, column = rng.choice(_SPECIALS), rng.randrange(workload.head_dim)
        request = rng.randrange(len(workload.lengths))
        if rng.random() < 0.5 or not workload.lengths[request]:
            q[request, rng.randrange(workload.q_tokens), rng.randrange(workload.heads), column] = value
        else:
            page, slot = divmod(rng.randrange(workload.lengths[request]), workload.page_size)
            cache[inputs.block_table[request, page], slot, 0, column] = value
    return replace(inputs, q=q, kv_cache=cache)
