"""Seeded random workloads for small cores: odd shapes, every cache, dense or by lists, empty requests, sinks."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import gcd

from amla.rtl.config import CoreConfig
from amla.sw.compiler.tiling import PRELOADS, plan_tiles
from amla.sw.errors import AmlaError
from amla.sw.workload.extra import ExtraCache
from amla.sw.workload.workload import FP8_CACHES, MAX_TOKENS, Workload

__all__ = ["random_workload"]

#: Cube cycles that one workload may need, so that hundreds stay a matter of minutes. With FP8 keys, of which a small
#: core holds but a few at a time, a program takes several times as long as its cube.
_CYCLES, _FP8_CYCLES = 6000, 2000

_HEADS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 31, 32, 33, 40)
_PAGES = (16, 64, 128, 1, 3, 24, 48, 100)
_EXTRA_PAGES = (2, 16, 48, 1, 5, 64)


@dataclass(frozen=True, kw_only=True)
class _Width:
    """Columns of keys and values in a cache, and the preload depth that a core runs them at."""

    cache: str | None
    head_dim: int
    head_dim_v: int
    preload: int


def random_workload(rng: random.Random, config: CoreConfig) -> tuple[Workload, int]:
    """Draw a workload that ``config`` can run, in some thousand cycles of its cube, and its preload depth."""
    width, listed = _width(rng, config), rng.random() < 0.4
    heads = rng.choice(_HEADS)
    tokens = rng.choice((1, 2, 3, 4, rng.randint(5, MAX_TOKENS)))
    keys = [_length(rng, config) for _ in range(rng.choice((1, 1, 2, 3)))]
    most = _FP8_CYCLES if width.cache else _CYCLES
    while _cycles(config, width, heads, tokens, keys, listed) > most and heads * tokens + max(keys) > 1:
        longest = max(keys)
        if longest < config.k or (width.cache and rng.random() < 0.5):
            heads, tokens = rng.choice(((max(heads // 2, 1), tokens), (heads, max(tokens // 2, 1))))
        keys[keys.index(longest)] = longest // 2
    rotary = width.head_dim > width.head_dim_v or width.cache is not None
    return Workload(
        name="random",
        heads=heads,
        q_tokens=tokens,
        causal=not listed and rng.random() < 0.6,
        head_dim=width.head_dim,
        head_dim_v=width.head_dim_v,
        cache=width.cache,
        page_size=rng.choice(_PAGES),
        sink=rng.random() < 0.4 and _sinks_fit(config, heads, 1 if listed else tokens),
        seed=rng.getrandbits(32),
        inputs="layer" if rotary and rng.random() < 0.7 else "normal",
        softmax_scale=rng.choice((None, None, 0.01, 1.0, 20.0)),
        **(_lists(rng, keys) if listed else {"lengths": tuple(keys)}),
    ), width.preload


def _width(rng: random.Random, config: CoreConfig) -> _Width:
    fp8 = _fp8_widths(config)
    if fp8 and rng.random() < 0.3:
        return rng.choice(fp8)
    unit = config.beat_elements
    values = unit * rng.choice((1, 1, 2, 4))
    return _Width(cache=None, head_dim=values + unit * rng.choice((0, 1, 1, 2)), head_dim_v=values,
                  preload=rng.choice(PRELOADS))


@cache
def _fp8_widths(config: CoreConfig) -> tuple[_Width, ...]:
    """What L1 and O of the core hold of FP8 caches, whose keys have 576 or 512 columns."""
    def fits(width: _Width) -> bool:
        try:
            plan_tiles(Workload(name="fits", heads=1, lengths=(1,), cache=width.cache, head_dim=width.head_dim,
                                head_dim_v=width.head_dim_v), config, preload=width.preload)
        except AmlaError:
            return False
        return True

    values = (512, 16 * config.beat_elements, config.beat_elements)
    widths = [_Width(cache=name, head_dim=columns, head_dim_v=head_dim_v, preload=preload)
              for name, columns in FP8_CACHES.items() for head_dim_v in values for preload in PRELOADS]
    return tuple(filter(fits, widths)) if config.reads_fp8 else ()


def _length(rng: random.Random, config: CoreConfig) -> int:
    edge = rng.choice((config.kv_block, 2 * config.kv_block, 64, 128))
    return rng.choice((0, 1, rng.randint(2, config.kv_block), edge - 1, edge, edge + 1, rng.randint(0, 300)))


def _cycles(config: CoreConfig, width: _Width, heads: int, tokens: int, keys: Sequence[int], listed: bool) -> float:
    """Cube cycles; listed keys are each query token's own, so that its heads fill row groups by themselves."""
    sequences, rows = (tokens, heads) if listed else (1, heads * tokens)
    padded = sequences * -(-rows // config.m) * config.m
    dims = width.head_dim + width.head_dim_v
    return sum(padded * (count + config.k) * dims for count in keys) / config.macs_per_cycle


def _lists(rng: random.Random, keys: Sequence[int]) -> dict:
    """Lists of as many entries as the longest of ``keys``, in one cache or two, which hold fewer keys or more.

    A request's entries that count are about as many as its ``keys``.
    """
    most = max(*keys, 1)
    extra = rng.randint(1, most) if rng.random() < 0.5 and most > 1 else 0
    topk = max(most - extra, 1)

    def lengths(entries: int) -> tuple[int, ...]:
        return tuple(rng.choice((0, 1, entries // 2, entries, 3 * entries)) for _ in keys)

    def counts(entries: int) -> tuple[int, ...] | None:
        return rng.choice((None, tuple(min(count, entries) for count in keys),
                           tuple(rng.randint(0, entries) for _ in keys)))

    found = {"lengths": lengths(topk), "topk": topk, "topk_lengths": counts(topk),
             "window": rng.choice((0, 0, rng.randint(0, topk)))}
    if extra:
        found["extra"] = ExtraCache(lengths=lengths(extra), topk=extra, topk_lengths=counts(extra),
                                    page_size=rng.choice(_EXTRA_PAGES))
    return found


def _sinks_fit(config: CoreConfig, heads: int, tokens: int) -> bool:
    """SINK holds those of every row group, or of all that begin with another head and the rest of a row tile."""
    period = heads // gcd(heads, config.m) + config.max_rows // config.m - 1
    return min(-(-heads * tokens // config.m), period) <= config.state_words
