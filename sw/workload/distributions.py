"""Inputs of the accuracy study: queries and keys of one decode step, each kind settled by a seed.

A key's first `head_dim_v` columns are its value (MLA), the rest are the rotary part, which lets a
distribution choose the scores and the values independently of each other.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from amla.model.attention.batch import DecodeBatch
from amla.model.checks import as_index

from ..errors import AmlaError
from .generate import make_inputs
from .workload import Workload

__all__ = ["DISTRIBUTIONS", "Distribution", "Shape", "draw"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Shape of one decode step: 128 heads on DeepSeek-V3's widths unless a test wants less.

    Attributes
    ----------
    rows:       query rows M
    head_dim:   columns of a query and of a key
    head_dim_v: columns of a value; at least two columns remain for the rotary part, an even number
    kv_block:   keys per KV tile, a multiple of 16

    Raises
    ------
    AmlaError: a value breaks its rule.
    """

    rows: int = 128
    head_dim: int = 576
    head_dim_v: int = 512
    kv_block: int = 512

    def __post_init__(self) -> None:
        for name in ("rows", "head_dim", "head_dim_v", "kv_block"):
            value = as_index(getattr(self, name))
            if value is None or value < 1:
                raise AmlaError(f"{name} must be a positive integer, not {getattr(self, name)!r}")
            object.__setattr__(self, name, value)
        rotary = self.head_dim - self.head_dim_v
        if rotary < 2 or rotary % 2:
            raise AmlaError(f"head_dim must be head_dim_v plus an even number of columns, not {self.head_dim!r}")

    @property
    def scale(self) -> float:
        """Softmax scale of the layer before absorption: 1/sqrt(192) for 64 rotary columns."""
        return (3 * (self.head_dim - self.head_dim_v)) ** -0.5


#: Queries [rows, head_dim] and keys [length, head_dim] from a generator, a shape and a length.
_Draw = Callable[[np.random.Generator, Shape, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One kind of input: its ``key`` on the command line, its ``title`` in reports, and what it is for."""

    key: str
    title: str
    purpose: str
    draw: _Draw


def draw(key: str, shape: Shape, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries bfloat16[rows, head_dim] and keys bfloat16[length, head_dim]; the arguments settle every bit.

    Raises
    ------
    AmlaError: the distribution is unknown, or the length is not positive.
    """
    if key not in DISTRIBUTIONS:
        raise AmlaError(f"distribution must be one of {', '.join(DISTRIBUTIONS)}, not {key!r}")
    count = as_index(length)
    if count is None or count < 1:
        raise AmlaError(f"keys must be a positive integer, not {length!r}")
    rng = np.random.default_rng([zlib.crc32(key.encode()), count, seed])
    q, keys = DISTRIBUTIONS[key].draw(rng, shape, count)
    return q.astype(ml_dtypes.bfloat16), keys.astype(ml_dtypes.bfloat16)


def _gaussian(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    return (rng.standard_normal((shape.rows, shape.head_dim), np.float32),
            rng.standard_normal((length, shape.head_dim), np.float32))


def _normal(variance: float) -> _Draw:
    def make(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
        q, keys = _gaussian(rng, shape, length)
        deviation = np.float32(variance**0.5)
        return q * deviation, keys * deviation
    return make


def _uniform(limit: float) -> _Draw:
    def make(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
        return (rng.uniform(-limit, limit, (shape.rows, shape.head_dim)),
                rng.uniform(-limit, limit, (length, shape.head_dim)))
    return make


def _flashmla(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    q, keys = _gaussian(rng, shape, length)
    return np.clip(q / 10, -1, 1), np.clip(keys / 10, -1, 1)


def _layer(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    workload = Workload(
        name="accuracy", heads=shape.rows, lengths=(length,), head_dim=shape.head_dim,
        head_dim_v=shape.head_dim_v, seed=int(rng.integers(1 << 62)), poison=False,
    )
    inputs = make_inputs(workload)
    batch = DecodeBatch.mla(**inputs.arguments(), head_dim_v=shape.head_dim_v)
    words = batch.groups[0].keys.read(0, 0, length)
    return inputs.q[0, 0], words.view(ml_dtypes.bfloat16)


def _needle(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    """One key, three quarters down, that takes about 3/4 of every row's weight."""
    q, keys = _gaussian(rng, shape, length)
    direction = rng.standard_normal(shape.head_dim, np.float32)
    direction /= np.linalg.norm(direction)
    strength = np.float32(8)
    q += strength * direction
    # The haystack's scores are normal with this variance, so that its weights sum to length·e^(variance / 2).
    variance = (shape.head_dim + float(strength) ** 2) * shape.scale**2
    score = np.log(length) + variance / 2 + 1
    keys[length * 3 // 4] = direction * np.float32(score / (float(strength) * shape.scale))
    return q, keys


def _constant(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Every row has one score for all keys, another one than its neighbours."""
    q, keys = _gaussian(rng, shape, length)
    q[:] = 0
    q[:, shape.head_dim_v] = rng.uniform(1, 8, shape.rows)
    keys[:, shape.head_dim_v:] = 0
    keys[:, shape.head_dim_v] = 8
    return q, keys


def _equal(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    q, keys = _gaussian(rng, shape, length)
    return np.zeros_like(q), keys


def _rising(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that climb by twelve nats on the way, so that the row maximum moves in nearly every tile."""
    q, keys = _gaussian(rng, shape, length)
    q /= 4
    q[:, shape.head_dim_v] = 4
    keys[:, shape.head_dim_v] = np.linspace(0, 12 / (4 * shape.scale), length)
    return q, keys


def _zero_columns(rng: np.random.Generator, shape: Shape, length: int) -> tuple[np.ndarray, np.ndarray]:
    """A quarter of the value's columns is zero in the first half of the keys: O holds zeros there meanwhile."""
    q, keys = _normal(4)(rng, shape, length)
    keys[:(length + 1) // 2, :max(shape.head_dim_v // 4, 1)] = 0
    return q, keys


_TABLE = (
    Distribution(key="normal-1", title="N(0, 1)", purpose="every entry normal, variance 1", draw=_normal(1)),
    Distribution(key="normal-4", title="N(0, 4)", purpose="variance 4: peaked attention", draw=_normal(4)),
    Distribution(key="normal-10", title="N(0, 10)", purpose="variance 10: a few keys matter", draw=_normal(10)),
    Distribution(key="normal-25", title="N(0, 25)", purpose="variance 25: nearly one key each", draw=_normal(25)),
    Distribution(key="uniform-1", title="U(−1, 1)", purpose="uniform in ±1: flat attention", draw=_uniform(1)),
    Distribution(key="uniform-10", title="U(−10, 10)", purpose="uniform in ±10: nearly one key each",
                 draw=_uniform(10)),
    Distribution(key="flashmla", title="FlashMLA's tests",
                 purpose="N(0, 0.01) within ±1, as FlashMLA's tests draw them", draw=_flashmla),
    Distribution(key="layer", title="MLA layer", purpose="a layer in DeepSeek-V3's form on random weights",
                 draw=_layer),
    Distribution(key="needle", title="needle", purpose="N(0, 1) and one late key that takes most of the weight",
                 draw=_needle),
    Distribution(key="rising", title="rising scores",
                 purpose="scores climb steadily: the maximum moves in nearly every tile", draw=_rising),
    Distribution(key="constant", title="constant scores", purpose="one score per row for all keys, V is N(0, 1)",
                 draw=_constant),
    Distribution(key="equal", title="all-equal scores", purpose="every score is 0, V is N(0, 1)", draw=_equal),
    Distribution(key="zero-columns", title="zero V columns",
                 purpose="N(0, 4), a quarter of V's columns 0 in the first half of the keys", draw=_zero_columns),
)

#: The study's inputs by key, in the order of its tables.
DISTRIBUTIONS = {distribution.key: distribution for distribution in _TABLE}
