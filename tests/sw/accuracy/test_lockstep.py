"""Variants in lockstep: the golden model's bits, for every mode."""

import numpy as np
import pytest
from amla.model import Numerics
from amla.model.attention.attention import attend
from amla.model.attention.softmax import softmax_scale_word
from amla.sw.accuracy.lockstep import attend_all
from amla.sw.accuracy.study import VARIANTS
from amla.sw.workload.distributions import Shape, draw

SHAPE = Shape(rows=8, head_dim=48, head_dim_v=32, kv_block=32)


@pytest.mark.parametrize("key, length", [("normal-4", 150), ("zero-columns", 96), ("needle", 17)])
def test_the_models_bits(key, length):
    q, keys = (array.view(np.uint16) for array in draw(key, SHAPE, length, 3))
    found = attend_all(q, keys, VARIANTS, head_dim_v=32, scale=SHAPE.scale, numerics=Numerics(kv_block=32))
    assert list(found) == list(VARIANTS)
    for name, variant in VARIANTS.items():
        out, lse = attend(
            q, lambda start, stop: keys[start:stop], length, np.full(8, length), head_dim_v=32, mode=variant.mode,
            scale_word=softmax_scale_word(SHAPE.scale, mode=variant.mode),
            numerics=Numerics(kv_block=32, comp_bits=variant.comp_bits, p_format=variant.p_format),
        )
        assert np.array_equal(found[name][0], out) and np.array_equal(found[name][1], lse), name
