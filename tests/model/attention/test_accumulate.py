"""Argument checks of the accumulation; its values are tested with the softmax, in test_softmax.py."""

import numpy as np
import pytest
from amla.model.attention.accumulate import accumulate, normalize, reciprocal_and_lse
from amla.model.attention.softmax import RowState


def test_accumulate_and_normalize_reject_wrong_shapes():
    words_2x3, offsets = np.zeros((2, 3), np.uint32), np.zeros((2, 4), np.uint32)
    with pytest.raises(ValueError, match=r"PV must be .*, not of shape \(2, 2\)"):
        accumulate(words_2x3, words_2x3[:, :2], offsets, first=True, mode="amla", comp_bits=2)
    with pytest.raises(ValueError, match=r"offsets must be .*\[2, 2\], not of shape \(2, 4\)"):
        accumulate(words_2x3, words_2x3, offsets, first=True, mode="amla", comp_bits=1)
    with pytest.raises(ValueError, match=r"R must be .*, not of shape \(3,\)"):
        normalize(words_2x3, np.zeros(3, np.uint32))
    with pytest.raises(ValueError, match="mode must be one of"):
        reciprocal_and_lse(RowState.empty(1), mode="log")
