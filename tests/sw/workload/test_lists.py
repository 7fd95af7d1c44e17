"""Lists of slots: no key twice, the window in every one, holes and ends of -1, garbage behind what counts."""

import numpy as np
import pytest
from amla.sw.workload.lists import lists_of_slots

pytestmark = pytest.mark.smoke

_PAGE = 4
_TABLE = np.random.default_rng(1).permutation(40).astype(np.int32).reshape(2, 20)
_SEEN = np.array([[70, 71, 80], [0, 3, 9]])


def _keys(request, slots):
    """Key numbers of slots of a request."""
    block, offset = np.divmod(slots[slots >= 0], _PAGE)
    return [int(np.flatnonzero(_TABLE[request] == page)[0]) * _PAGE + int(slot)
            for page, slot in zip(block, offset, strict=True)]


def _lists(seed=0, **options):
    return lists_of_slots(np.random.default_rng(seed), _SEEN, _TABLE, page_size=_PAGE, **{"topk": 16, **options})


@pytest.mark.parametrize("window", [0, 5, 16])
@pytest.mark.parametrize("counts", [None, (16, 4), (2, 0)])
def test_picks(counts, window):
    for seed in range(10):
        lists = _lists(seed, topk_lengths=counts, window=window)
        assert lists.shape == (2, 3, 16) and lists.dtype == np.int32
        for request, token in np.ndindex(2, 3):
            count, seen = 16 if counts is None else counts[request], _SEEN[request, token]
            keys = _keys(request, lists[request, token, :count])
            assert len(set(keys)) == len(keys) and set(keys) <= set(range(seen))
            assert set(keys) >= set(range(seen - min(window, count, seen), seen))
            assert min(count - 3, seen) <= len(keys) <= min(count, seen)


def test_order_and_holes():
    lists = _lists()
    keys = _keys(0, lists[0, 0])
    assert keys != sorted(keys)
    many = [_lists(seed)[0] for seed in range(20)]
    assert any((row[:-1] == -1).any() for rows in many for row in rows)
    assert (_lists()[1, 1, 6:] == -1).all()  # 3 keys and at most as many holes


def test_what_does_not_count():
    counts = (3, 16)
    assert (_lists(topk_lengths=counts, poison=False)[0, :, 3:] == -1).all()
    behind = _lists(topk_lengths=counts)[0, :, 3:]
    assert ((behind < -1) | (behind >= _TABLE.size * _PAGE)).mean() > 0.9
