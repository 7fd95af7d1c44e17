"""Argument checks: integers and flags of any kind are taken, everything else is named."""

import numpy as np
import pytest
from amla.model.checks import as_flag, as_index, as_integer, check_array


class Five:
    def __index__(self):
        return 5


@pytest.mark.parametrize("value", [5, np.int8(5), np.uint64(5), np.array(5), Five()])
def test_integers(value):
    assert as_index(value) == as_integer("n", value) == 5 and type(as_integer("n", value)) is int


@pytest.mark.parametrize("value", [True, np.True_, 5.0, np.float32(5), "5", None, np.array([5]), [5]], ids=repr)
def test_what_is_no_integer(value):
    assert as_index(value) is None
    with pytest.raises(TypeError, match=r"^n must be an int, not "):
        as_integer("n", value)


@pytest.mark.parametrize("value", [1, True, np.True_, np.int64(1)], ids=repr)
def test_flags(value):
    assert as_flag("f", value) is True
    assert as_flag("f", type(value)(0)) is False


@pytest.mark.parametrize("value", [2, -1, 1.0, "yes", "", None, [], np.array([True])], ids=repr)
def test_what_is_no_flag(value):
    with pytest.raises(TypeError, match=r"^f must be a bool, not "):
        as_flag("f", value)


def test_arrays():
    check_array("x", np.zeros((2, 3), np.uint32), np.uint32, (None, 3))
    for value, error in ((np.zeros((2, 4), np.uint32), ValueError), (np.zeros(3, np.uint32), ValueError),
                         (np.zeros((2, 3), np.int32), TypeError), ([[0] * 3], TypeError)):
        with pytest.raises(error, match=r"^x must be an array uint32\[any, 3\], not "):
            check_array("x", value, np.uint32, (None, 3))
