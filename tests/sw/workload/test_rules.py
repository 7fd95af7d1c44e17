"""Rules of keys: what is taken, and the one line for what is not."""

import numpy as np
import pytest
from amla.sw.errors import AmlaError
from amla.sw.workload.rules import integer, integers, known_keys, require

pytestmark = pytest.mark.smoke


def test_what_is_taken():
    require(True, "key", "anything", None)
    assert integer("key", np.int32(3), 1, 3) == 3 and type(integer("key", np.int32(3), 1, 3)) is int
    assert integers("key", (np.int64(1), 2), 1, 2) == integers("key", (1, 2), 1, 2, count=2) == (1, 2)
    assert known_keys("source", {"a": [1, 2], "b": "x"}, ["a", "b", "c"]) == {"a": (1, 2), "b": "x"}


@pytest.mark.parametrize(("call", "message"), [
    (lambda: require(False, "key", "blue", "red"), "key must be blue, not 'red'"),
    (lambda: integer("key", 4, 1, 3), "key must be an integer from 1 to 3, not 4"),
    (lambda: integer("key", True, 0, 3), "key must be an integer from 0 to 3, not True"),
    (lambda: integers("key", (), 1, 3), r"key must be a list of at least one integer, not \(\)"),
    (lambda: integers("key", 5, 1, 3), "key must be a list of at least one integer, not 5"),
    (lambda: integers("key", (1, 2), 1, 3, count=1), r"key must be a list of 1, an integer for each request, not .*"),
    (lambda: integers("key", (1, 4), 1, 3), r"key\[1\] must be an integer from 1 to 3, not 4"),
    (lambda: known_keys("source", [1], []), r"source must be a mapping of keys to values, not \[1\]"),
    (lambda: known_keys("source", {"b": 1}, ["a"]), "source: unknown key 'b'; known keys are a"),
])
def test_what_is_not(call, message):
    with pytest.raises(AmlaError, match=f"^{message}$"):
        call()
