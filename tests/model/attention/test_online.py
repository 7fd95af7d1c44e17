"""The online softmax as one object: every mode is the functions that it stands for, and starts without a key."""

import numpy as np
import pytest
from amla.model.attention.accumulate import accumulate, normalize, reciprocal_and_lse
from amla.model.attention.log_domain import LogSoftmax
from amla.model.attention.online import online_softmax
from amla.model.attention.paper import PaperSoftmax
from amla.model.attention.sink import apply_sink
from amla.model.attention.softmax import RowState, row_maximum, softmax_scale_word, softmax_tile
from amla.model.fp.formats import BF16, FP16, U6_10
from amla.model.numerics import MODES, P_FORMATS, Numerics


@pytest.mark.parametrize("p_format", P_FORMATS)
@pytest.mark.parametrize("format", [BF16, FP16])
@pytest.mark.parametrize("mode", ["amla", "mul", "pow2"])
def test_the_modes_of_the_hardware(mode, format, p_format):
    numerics = Numerics(p_format=p_format)
    weights = numerics.format_of_p(format)
    assert weights == (format if p_format == "operand" else U6_10)
    rng = np.random.default_rng(3)
    scale_word = softmax_scale_word(0.2, mode=mode)
    softmax = online_softmax(mode, 5, scale_word=scale_word, numerics=numerics, format=format)
    assert softmax.format == weights
    state, got, wanted = RowState.empty(5), np.zeros((5, 8), np.uint32), np.zeros((5, 8), np.uint32)
    for first in (True, False, False):
        scores = rng.normal(0, 20, (5, 16)).astype(np.float32).view(np.uint32)
        valid = rng.integers(0, 17, 5)
        product = rng.normal(size=(5, 8)).astype(np.float32).view(np.uint32)
        p = softmax.probabilities(scores, valid, first=first)
        softmax.accumulate(got, product, first=first)
        expected, offsets = softmax_tile(scores, valid, row_maximum(scores, valid), state, scale_word=scale_word,
                                         first=first, mode=mode, comp_bits=numerics.comp_bits, format=weights)
        accumulate(wanted, product, offsets, first=first, mode=mode, comp_bits=numerics.comp_bits)
        assert p.tolist() == expected.tolist() and got.tolist() == wanted.tolist()
    factor, lse = reciprocal_and_lse(state, mode=mode)
    out, out_lse = softmax.finish(got)
    assert out.tolist() == normalize(wanted, factor).tolist() and out_lse.tolist() == lse.tolist()
    sinks = rng.normal(0, 20, 5).astype(np.float32).view(np.uint32)
    factor, lse = reciprocal_and_lse(state, mode=mode, sinks=sinks)
    out, out_lse = softmax.finish(got, sinks)
    assert out.tolist() == normalize(wanted, factor).tolist() and out_lse.tolist() == lse.tolist()


@pytest.mark.parametrize("mode", ["paper", "log"])
def test_sinks_in_the_modes_of_the_model(mode):
    rng = np.random.default_rng(5)
    softmax = online_softmax(mode, 3, scale_word=softmax_scale_word(0.2, mode=mode), numerics=Numerics())
    scores = rng.normal(0, 20, (3, 16)).astype(np.float32).view(np.uint32)
    softmax.probabilities(scores, np.array([16, 0, 9]), first=True)
    O = rng.normal(size=(3, 8)).astype(np.float32).view(np.uint32)
    O[1] = 0
    sinks = np.array([1, 2, -np.inf], np.float32).view(np.uint32)
    plain, lse = softmax.finish(O)
    out, same = softmax.finish(O, sinks)
    assert same.tolist() == lse.tolist() and out.tolist() == apply_sink(plain, lse, sinks).tolist()
    assert out[0].tolist() != plain[0].tolist() and out[1:].tolist() == plain[1:].tolist()


@pytest.mark.parametrize("mode", MODES)
def test_rows_without_a_key(mode):
    softmax = online_softmax(mode, 3, scale_word=softmax_scale_word(0.2, mode=mode), numerics=Numerics(comp_bits=1))
    scores, O = np.zeros((3, 16), np.uint32), np.zeros((3, 4), np.uint32)
    assert not softmax.probabilities(scores, np.zeros(3, np.int64), first=True).any()
    softmax.accumulate(O, np.zeros((3, 4), np.uint32), first=True)
    for sinks in (None, np.array([0, 1, -np.inf], np.float32).view(np.uint32)):
        out, lse = softmax.finish(O, sinks)
        assert not out.any() and np.isposinf(lse.view(np.float32)).all()


def test_the_modes_of_the_model():
    for mode, kind, weights in (("paper", PaperSoftmax, FP16), ("log", LogSoftmax, U6_10)):
        softmax = online_softmax(mode, 1, scale_word=0, numerics=Numerics(), format=FP16)
        assert type(softmax) is kind and softmax.format == weights
    with pytest.raises(ValueError, match="mode must be one of"):
        online_softmax("exact", 1, scale_word=0, numerics=Numerics())
