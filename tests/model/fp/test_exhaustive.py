"""The exhaustive check: a slice of it, that it notices faults, and (nightly) all of it."""

import numba
import numpy as np
import pytest
from amla.model.fp import exhaustive
from amla.model.fp.convert import narrow_word
from amla.model.fp.exp2 import exp2_word
from amla.model.fp.recip import recip_word


@pytest.mark.smoke
@pytest.mark.parametrize("name", exhaustive.OPERATIONS)
def test_slices(name):
    """Around zero, one and infinity of either sign, in steps that do not divide evenly."""
    seen = []
    for start in (0, 0x3F700000, 0x7F780000, 1 << 31, 0xBF700000, 0xFF780000):
        stop = start + 0x100000
        result = exhaustive.check(name, start=start, stop=stop, step=300_000, progress=seen.append)
        assert result.words == seen[-1] == 0x100000 and result.violations == 0
    middle = exhaustive.check(name, start=0x3F800000, stop=0x3FA00000)
    assert 0.49 < middle.worst_ulp < 0.56


@pytest.mark.smoke
def test_fp16_where_it_underflows_and_overflows():
    for start in (0x33000000, 0x38700000, 0x477F0000):  # a half of the least subnormal, the least normal, the largest
        assert exhaustive.check("to_fp16", start=start - 0x10000, stop=start + 0x100000).violations == 0


@numba.njit
def _off_by_an_ulp(x):
    """exp2, but one ulp too large in one place and right after it, and wrong for −0 and NaN."""
    if x == 0x80000000 or x == 0x7FC00001:
        return np.uint32(0)
    return np.uint32(exp2_word(x) + (2 if 0x3F900000 <= x < 0x3F900010 else 0))


@numba.njit
def _inexact(x):
    """recip, but an ulp off at 1/2."""
    return np.uint32(recip_word(x) - (x == 0x3F000000))


@numba.njit
def _flushing(x):
    """to_fp16, but without subnormals."""
    return narrow_word(x, 5, 10, False, 0)


@pytest.mark.smoke
def test_faults_are_noticed():
    operations = exhaustive.OPERATIONS
    wrong = exhaustive.faithful_kernel(_off_by_an_ulp, *exhaustive.CURVES["exp2"])
    inexact = exhaustive.faithful_kernel(_inexact, *exhaustive.CURVES["recip"])
    saved = dict(operations)
    try:
        operations.update(exp2=wrong, recip=inexact)
        result = exhaustive.check("exp2", start=0x3F8FF000, stop=0x3F901000)
        assert result.unfaithful == 16 and result.not_monotonic == 1 and result.worst_ulp > 1
        assert exhaustive.check("exp2", start=0x7FC00000, stop=0x7FC00002).special == 1
        assert exhaustive.check("exp2", start=0x80000000, stop=0x80000001).inexact == 1
        assert exhaustive.check("recip", start=0x3F000000, stop=0x3F000001).inexact == 1
        operations["to_fp16"] = exhaustive.narrow_kernel(_flushing, exhaustive.FP16)
        assert exhaustive.check("to_fp16", start=0x38000000, stop=0x38000400).unfaithful == 0x400
    finally:
        operations.update(saved)


@pytest.mark.nightly
@pytest.mark.parametrize("name", exhaustive.OPERATIONS)
def test_all_words(name):
    result = exhaustive.check(name)
    assert result.words == 1 << 32 and result.violations == 0
