"""The vectors of the benches hold every class of operand."""

import numpy as np
import pytest
from amla.model.fp.corners import fp32_corners
from amla.tb.fp.compiled import COUNT
from amla.tb.fp.operators import OPERATORS
from amla.tb.fp.vectors import operands, pairs, words


def _kinds(word: np.ndarray) -> set[str]:
    """Classes of FP32 words that occur, with their signs."""
    field, fraction = word >> 23 & 0xFF, word & 0x7FFFFF
    kinds = {"zero": (field == 0) & (fraction == 0), "subnormal": (field == 0) & (fraction != 0),
             "infinity": (field == 255) & (fraction == 0), "nan": (field == 255) & (fraction != 0)}
    return {f"{sign}{name}" for name, chosen in kinds.items()
            for sign, signed in (("+", word >> 31 == 0), ("-", word >> 31 == 1)) if (chosen & signed).any()}


def test_pairs_hold_all_pairs_of_corners(seed):
    a, b = pairs(np.random.default_rng(seed), COUNT)
    corners = fp32_corners()
    corner = np.isin(a, corners) & np.isin(b, corners)
    met = np.unique(a[corner].astype(np.uint64) << 32 | b[corner])
    assert len(a) == len(b) == COUNT and len(met) == len(corners) ** 2


@pytest.mark.parametrize("name", OPERATORS)
def test_every_exponent_and_every_class(name, seed):
    for port, column in OPERATORS[name].vectors(np.random.default_rng(seed), COUNT).items():
        assert len(column) == COUNT
        if column.dtype == np.uint32:
            assert len(np.unique(column >> 23)) == 512, f"{port}: a sign or exponent is missing"
            assert len(_kinds(column)) == 8, port
        elif column.dtype == np.uint16:
            assert len(np.unique(column)) == 1 << 16, f"{port}: a word is missing"


def test_words_are_as_many_as_asked_for(seed):
    rng = np.random.default_rng(seed)
    assert len(words(rng, 1000)) == 1000
    a, b, c = operands(rng, (1 << 16) + 7, 4)
    assert a.shape == b.shape == ((1 << 16) + 7, 4) and len(c) == len(a)
    assert len(np.unique(c >> 23)) == 512
