"""The attention sink: bit for bit the documented formula, close to float64, its ends, and the argument's check."""

import numpy as np
import pytest
from amla.model.attention.sink import apply_sink, sink_factor_word, sink_words
from amla.model.fp.add import add, sub
from amla.model.fp.exp2 import exp2
from amla.model.fp.formats import to_floats, to_words
from amla.model.fp.mul import mul
from amla.model.fp.recip import recip

LOG2E = np.uint32(0x3FB8AA3B)
NAN = 0x7FC00000


def test_the_sink_is_the_documented_formula():
    rng = np.random.default_rng(0)
    out, lse, sinks = (rng.normal(size=shape).astype(np.float32) * 5 for shape in ((60, 4), 60, 60))
    lse[0], sinks[1], sinks[2], sinks[3], sinks[4] = np.inf, np.inf, -np.inf, 1e30, -1e30
    out[0] = 0
    words = apply_sink(to_words(out), to_words(lse), to_words(sinks))
    factor = recip(add(np.uint32(0x3F800000), exp2(mul(sub(to_words(sinks), to_words(lse)), LOG2E))))
    assert words[1:].tolist() == mul(to_words(out), factor[:, None])[1:].tolist()
    got = to_floats(words).astype(float)
    assert not got[0].any() and not got[1].any() and not got[3].any()
    assert np.array_equal(words[[2, 4]], to_words(out)[[2, 4]])
    want = out[5:] / (1 + np.exp(sinks[5:].astype(float) - lse[5:]))[:, None]
    assert np.allclose(got[5:], want, rtol=3e-6)


@pytest.mark.parametrize(("sink", "factor"), [(-np.inf, 0x3F800000), (np.inf, 0), (np.nan, NAN), (1.5, 0x3F000000)])
def test_the_ends_of_the_factor(sink, factor):
    lse, word = (np.float32(value).view(np.uint32) for value in (1.5, sink))
    assert sink_factor_word(lse, word) == factor


def test_the_argument_is_an_entry_for_each_head():
    sinks = np.array([1, -np.inf, 2, 3], np.float32)
    assert sink_words(sinks[::2], 2).tolist() == to_words(sinks[::2].copy()).tolist()
    with pytest.raises(TypeError, match=r"^attn_sink must be an array of float32, not of float64$"):
        sink_words(np.zeros(2), 2)
    with pytest.raises(ValueError, match=r"^attn_sink must have shape \[2\], one entry .*, not \(3,\)$"):
        sink_words(np.zeros(3, np.float32), 2)


@pytest.mark.parametrize(("arrays", "message"), [
    (((3,), (3,), (3,)), "out must be an array"),
    (((3, 1), (2,), (3,)), "lse must be an array"),
    (((3, 1), (3,), (2,)), "sinks must be an array"),
])
def test_rejects_shapes(arrays, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        apply_sink(*(np.zeros(shape, np.uint32) for shape in arrays))
