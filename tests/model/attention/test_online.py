"""The online softmax as one object: every mode is the functions that it stands for, and starts without a key."""

import numpy as np
import pytest
from amla.model.attention.accumulate import accumulate, normalize, reciprocal_and_lse
from amla.model.attention.log_domain import LogSoftmax
from amla.model.attention.online import online_softmax
from amla.model.attention.paper import PaperSoftmax
from amla.model.attention.softmax import RowState, row_maximum, softmax_scale_word, softmax_tile
from amla.model.fp.formats import BF16, FP16
from amla.model.numerics import MODES


@pytest.mark.parametrize("format", [BF16, FP16])
@pytest.mark.parametrize("mode", ["amla", "mul", "pow2"])
def test_the_modes_of_the_hardware(mode, format):
    rng = np.random.default_rng(3)
    scale_word = softmax_scale_word(0.2, mode=mode)
    softmax = online_softmax(mode, 5, scale_word=scale_word, comp_bits=2, format=format)
    state, got, wanted = RowState.empty(5), np.zeros((5, 8), np.uint32), np.zeros((5, 8), np.uint32)
    for first in (True, False, False):
        scores = rng.normal(0, 20, (5, 16)).astype(np.float32).view(np.uint32)
        valid = rng.integers(0, 17, 5)
        product = rng.normal(size=(5, 8)).astype(np.float32).view(np.uint32)
        p = softmax.probabilities(scores, valid, first=first)
        softmax.accumulate(got, product, first=first)
        expected, offsets = softmax_tile(scores, valid, row_maximum(scores, valid), state, scale_word=scale_word,
                                         first=first, mode=mode, comp_bits=2, format=format)
        accumulate(wanted, product, offsets, first=first, mode=mode, comp_bits=2)
        assert p.tolist() == expected.tolist() and got.tolist() == wanted.tolist()
    factor, lse = reciprocal_and_lse(state, mode=mode)
    out, out_lse = softmax.finish(got)
    assert out.tolist() == normalize(wanted, factor).tolist() and out_lse.tolist() == lse.tolist()


@pytest.mark.parametrize("mode", MODES)
def test_rows_without_a_key(mode):
    softmax = online_softmax(mode, 3, scale_word=softmax_scale_word(0.2, mode=mode), comp_bits=1)
    scores, O = np.zeros((3, 16), np.uint32), np.zeros((3, 4), np.uint32)
    assert not softmax.probabilities(scores, np.zeros(3, np.int64), first=True).any()
    softmax.accumulate(O, np.zeros((3, 4), np.uint32), first=True)
    out, lse = softmax.finish(O)
    assert not out.any() and np.isposinf(lse.view(np.float32)).all()


def test_the_modes_of_the_model():
    assert type(online_softmax("paper", 1, scale_word=0, comp_bits=0)) is PaperSoftmax
    assert type(online_softmax("log", 1, scale_word=0, comp_bits=0)) is LogSoftmax
    with pytest.raises(ValueError, match="mode must be one of"):
        online_softmax("exact", 1, scale_word=0, comp_bits=0)
