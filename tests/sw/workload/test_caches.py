"""Caches in every format: keys where the table says, all else NaN, and nothing of it when it is read."""

import ml_dtypes
import numpy as np
import pytest
from amla.model.cache.kv_cache import KVCache
from amla.model.fp.formats import OPERANDS
from amla.sw.workload.caches import UNUSED_PAGE, paged

pytestmark = pytest.mark.smoke

_WIDTHS = {"bf16": 24, "fp16": 24, "fp8-656": 576, "fp8-584": 512}
_LENGTHS = (7, 0, 3)


def _made(cache, *, poison=True, page_size=3):
    rng = np.random.default_rng(0)
    keys = [rng.standard_normal((length, _WIDTHS[cache]), np.float32) for length in _LENGTHS]
    stored, table = paged(rng, keys, cache=cache, page_size=page_size, poison=poison)
    fp8 = cache.startswith("fp8")
    read = KVCache.build("kv_cache", stored, width=_WIDTHS[cache], fp8=fp8, format=OPERANDS["bf16" if fp8 else cache])
    words = read.read(np.arange(read.slots), 0)
    return keys, stored, table, words.view(np.float16 if cache == "fp16" else ml_dtypes.bfloat16).astype(np.float64)


@pytest.mark.parametrize("poison", [True, False])
@pytest.mark.parametrize("cache", _WIDTHS)
def test_keys_stand_where_the_table_says(cache, poison):
    keys, stored, table, values = _made(cache, poison=poison)
    assert stored.shape[:3] == (5, 3, 1) and table.shape == (3, 4) and table.dtype == np.int32
    used = np.zeros(len(values), bool)
    for request, rows in enumerate(keys):
        numbers = np.arange(len(rows))
        slots = table[request, numbers // 3] * 3 + numbers % 3
        assert np.abs(values[slots] - rows).max(initial=0) < (0.25 if cache.startswith("fp8") else 0.02)
        used[slots] = True
        assert set(table[request, -(-len(rows) // 3):]) == {UNUSED_PAGE if poison else 0}
    assert used.sum() == sum(_LENGTHS)
    assert np.isnan(values[~used]).all() if poison else not values[~used].any()


def test_pages_of_584_bytes_lie_at_multiples_of_576():
    _, stored, _, _ = _made("fp8-584", page_size=5)
    assert stored.shape == (4, 5, 1, 584) and stored.strides[0] == 6 * 576 and stored.dtype == np.uint8


def test_every_part_of_an_unused_fp8_key_is_nan():
    """A read of its codes, its scales or its rotary columns alone shows."""
    _, stored, _, _ = _made("fp8-656")
    rows = stored.reshape(-1, 656)
    unused = rows[np.isnan(np.ascontiguousarray(rows[:, 512:528]).view("<f4")).all(axis=1)]
    assert len(unused) == 5
    assert np.isnan(unused[:, :512].copy().view(ml_dtypes.float8_e4m3fn).astype(np.float32)).all()
    assert np.isnan(unused[:, 528:].copy().view(ml_dtypes.bfloat16).astype(np.float32)).all()
