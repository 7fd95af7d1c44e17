"""Sinks and argument checks of the accumulation; its other values are tested with the softmax, in test_softmax.py."""

import numpy as np
import pytest
from amla.model.attention.accumulate import accumulate, normalize, reciprocal_and_lse
from amla.model.attention.sink import sink_factor_word
from amla.model.attention.softmax import RowState
from amla.model.fp.formats import to_words
from amla.model.fp.mul import mul
from amla.model.numerics import HARDWARE_MODES

INF = np.uint32(0x7F800000)


@pytest.mark.parametrize("mode", HARDWARE_MODES)
def test_sinks_are_a_factor_of_the_reciprocal_alone(mode):
    rng = np.random.default_rng(4)
    state = RowState.empty(60)
    state.m[1:], state.l[1:], state.L[1:] = (to_words(rng.uniform(low, high, 59).astype(np.float32))
                                             for low, high in ((-40, 40), (0.7, 9), (0.7, 9)))
    sinks = rng.normal(0, 20, 60).astype(np.float32)
    sinks[:6] = 1, -np.inf, np.inf, np.nan, 3e38, -3e38
    r, lse = reciprocal_and_lse(state, mode=mode)
    weighed, same = reciprocal_and_lse(state, mode=mode, sinks=to_words(sinks))
    assert same.tolist() == lse.tolist()
    factors = np.array([sink_factor_word(*row) for row in zip(lse, to_words(sinks), strict=True)], np.uint32)
    assert weighed[1:].tolist() == mul(r, factors)[1:].tolist()
    assert weighed[[0, 1, 5]].tolist() == [INF, r[1], r[5]] and weighed[2:5].tolist() == [0, 0x7FC00000, 0]


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
    with pytest.raises(ValueError, match=r"sinks must be .*, not of shape \(2,\)"):
        reciprocal_and_lse(RowState.empty(1), mode="amla", sinks=np.zeros(2, np.uint32))
