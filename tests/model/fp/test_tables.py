"""The coefficient tables: their fit, their widths, and that every machine builds the same ones."""

import hashlib
from itertools import pairwise

import pytest
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
