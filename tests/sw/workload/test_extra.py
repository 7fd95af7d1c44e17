"""The second cache of a workload: values, defaults, and one clear error per wrong thing."""

import numpy as np
import pytest
from amla.sw.errors import AmlaError
from amla.sw.workload.extra import ExtraCache

pytestmark = pytest.mark.smoke

_GOOD = {"lengths": [5, 0], "topk": 4}


def test_values_and_defaults():
    assert ExtraCache.from_dict(_GOOD) == ExtraCache(lengths=(5, 0), topk=4, topk_lengths=None, page_size=64)
    extra = ExtraCache(lengths=(np.int64(5),), topk=np.uint8(4), topk_lengths=(np.int32(4),), page_size=2)
    assert {type(value) for value in (*extra.lengths, extra.topk, *extra.topk_lengths, extra.page_size)} == {int}


@pytest.mark.parametrize(("change", "message"), [
    ({"lengths": []}, r"extra.lengths must be a list of at least one integer, not \(\)"),
    ({"lengths": [1, -1]}, r"extra.lengths\[1\] must be an integer from 0 to 4194304, not -1"),
    ({"topk": 0}, "extra.topk must be an integer from 1 to 65536, not 0"),
    ({"topk_lengths": [5, 4]}, r"extra.topk_lengths\[0\] must be an integer from 0 to 4, not 5"),
    ({"topk_lengths": [4]}, r"extra.topk_lengths must be a list of 2, an integer for each request, not \(4,\)"),
    ({"page_size": 1025}, "extra.page_size must be an integer from 1 to 1024, not 1025"),
    ({"colour": 1}, "extra: unknown key 'colour'; known keys are lengths, topk, topk_lengths, page_size"),
])
def test_wrong_values(change, message):
    with pytest.raises(AmlaError, match=f"^{message}$"):
        ExtraCache.from_dict({**_GOOD, **change})


@pytest.mark.parametrize("key", _GOOD)
def test_missing_key(key):
    with pytest.raises(AmlaError, match=f"^extra: missing key '{key}'$"):
        ExtraCache.from_dict({name: value for name, value in _GOOD.items() if name != key})
