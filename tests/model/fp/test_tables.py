"""The coefficient tables: their fit, their widths, and that every machine builds the same ones."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from amla.model.fp.exp2 import exp2
from amla.model.fp.log2 import log2
from amla.model.fp.recip import recip
from amla.model.fp.tables import EXP2, LOG2, RECIP

_TABLES = (EXP2, RECIP, LOG2)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("table", "digest"),
    [(EXP2, "648df1284c014cff"), (RECIP, "a1cd3f8f0e02eb03"), (LOG2, "94740b8f9a5e5fc6")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_same_on_every_machine(table, digest):
    """The fit is exact arithmetic; model and RTL depend on these very integers."""
    assert hashlib.sha256(repr((table.c0, table.c1, table.c2)).encode()).hexdigest()[:16] == digest


@pytest.mark.smoke
@pytest.mark.parametrize("table", _TABLES, ids=lambda table: table.name)
def test_shapes_and_widths(table):
    assert len(table.c0) == len(table.c1) == len(table.c2) == 1 << table.index_bits
    assert min(*table.c0, *table.c1, *table.c2) > 0
    assert table.widths == {"exp2": (32, 27, 19), "recip": (33, 26, 19), "log2": (32, 26, 19)}[table.name]
    last = (1 << table.u_bits) - 1
    for index in range(len(table.c0)):
        bend = table.c2[index] * last >> table.shift2
        bracket = table.c1[index] + (-bend if table.falling else bend)
        assert 0 < bracket < 1 << table.t_bits


@pytest.mark.smoke
@pytest.mark.parametrize("table", [EXP2, RECIP], ids=lambda table: table.name)
def test_continuous_and_monotonic_across_segments(table):
    last = (1 << table.u_bits) - 1
    step = -1 if table.falling else 1
    for index, following in pairwise(range(len(table.c0))):
        gap = (table.c0[following] - table.evaluate(index, last)) * step
        slope = abs(table.evaluate(index, last) - table.evaluate(index, 0)) / last
        assert 0 <= gap < slope + 4


def _evaluated(table, fractions):
    """``Table.evaluate`` of many points: the top bits of a fraction are the segment's index, the others u."""
    c0, c1, c2 = (np.array(column) for column in (table.c0, table.c1, table.c2))
    index, u = fractions >> table.u_bits, fractions & (1 << table.u_bits) - 1
    sign = -1 if table.falling else 1
    return c0[index] + sign * ((c1[index] + sign * (c2[index] * u >> table.shift2)) * u >> table.shift1)


def _exp2(fractions):
    return (128 << 23) + np.rint(_evaluated(EXP2, fractions << 7) / 256).astype(np.int64) - (1 << 23)


def _recip(fractions):
    return (126 << 23) + np.rint(_evaluated(RECIP, fractions) / 256).astype(np.int64) - (1 << 23)


def _log2(fractions):
    half = fractions >> 22
    t = np.where(half, fractions - (1 << 23), 2 * fractions)
    total = (half << 55) + t * _evaluated(LOG2, fractions)
    return np.ldexp(total.astype(np.float32), -55).view(np.uint32)


@pytest.mark.parametrize(("function", "expected"), [(exp2, _exp2), (recip, _recip), (log2, _log2)],
                         ids=["exp2", "recip", "log2"])
def test_every_fraction(function, expected):
    """All words of [1, 2): every segment often enough that the lowest bit of each coefficient shows."""
    fractions = np.arange(1 << 23)
    words = (fractions + (127 << 23)).astype(np.uint32)
    np.testing.assert_array_equal(function(words), expected(fractions))


@pytest.mark.parametrize("table", _TABLES, ids=lambda table: table.name)
def test_many_points_as_one(table):
    rng = np.random.default_rng(0)
    fractions = rng.integers(0, 1 << table.index_bits + table.u_bits, 1000)
    one_by_one = [table.evaluate(*divmod(point, 1 << table.u_bits)) for point in fractions.tolist()]
    assert _evaluated(table, fractions).tolist() == one_by_one
