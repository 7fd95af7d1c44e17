"""The formats of the RTL are those of the golden model."""

import pytest
from amla.model.fp import formats
from amla.rtl.fp import word


@pytest.mark.smoke
def test_formats():
    assert list(word.OPERANDS) == list(formats.OPERANDS)
    pairs = [(word.FP32, formats.FP32), (word.U6_10, formats.U6_10),
             *zip(word.OPERANDS.values(), formats.OPERANDS.values(), strict=True)]
    for ours, golden in pairs:
        assert (ours.exponent_bits, ours.fraction_bits, ours.subnormals, ours.excess) == golden.fields
        assert (ours.width, ours.bias, ours.one) == (golden.bits, golden.bias, golden.one)
        assert (ours.infinity, ours.nan) == (golden.infinity, golden.quiet_nan)
