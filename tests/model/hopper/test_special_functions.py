"""ex2, rcp and lg2 against an H200: recorded samples, and every word of the binades that decide the others.

`data/hopper_functions.npz` has 65,536 samples of each over the whole range, NaN, zeros and subnormals among them. Of a
recorded binade (2^23 words) there is the SHA-256 of its results, little-endian.
"""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from amla.model.fp.formats import NEG_INF, NEG_ZERO, POS_INF
from amla.model.fp.jit import njit
from amla.model.hopper.special_functions import ex2_hopper, ex2_word, lg2_hopper, lg2_word, rcp_hopper, rcp_word
from amla.model.hopper.special_tables import EX2, LG2, RCP

DATA = np.load(Path(__file__).parents[1] / "data" / "hopper_functions.npz")
FUNCTIONS = {"ex2": ex2_hopper, "rcp": rcp_hopper, "lg2": lg2_hopper}
NAN = 0x7FFFFFFF


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_recorded_sample(name):
    x, y = DATA[f"{name}_x"], DATA[f"{name}_y"]
    np.testing.assert_array_equal(FUNCTIONS[name](x), y)
    assert len(x) == 1 << 16


@pytest.mark.parametrize(("name", "first", "digest"), [
    ("ex2", 0xBF800000, "503d2238b9f4c00e8686f80a703dd13d365554f2887c7279a7b438f642aceab3"),
    ("rcp", 0x3F800000, "c408381446132e07fa5581e930dc33fb790bea7ec4276ef3621e322df2492a55"),
    ("lg2", 0x3F800000, "7fd9be9a924e40a0ee18ba20e7f5158135112947597c8dd86131d3d4d8f9dbfa"),
    ("lg2", 0x3F000000, "883e42d8f751983063b4c93a966fba006f08c1e111d90fe20e0fee3dd67ddd22"),
], ids=str)
def test_every_word_of_a_recorded_binade(name, first, digest):
    words = np.arange(first, first + (1 << 23), dtype=np.uint32)
    got = FUNCTIONS[name](words).astype("<u4")
    assert sha256(got.tobytes()).hexdigest() == digest
    got[1234567] ^= 1
    assert sha256(got.tobytes()).hexdigest() != digest


def test_specials():
    words = np.array([0, NEG_ZERO, 1, 0x807FFFFF, POS_INF, NEG_INF, 0x7FC00000, 0xFF800001], np.uint32)
    one = 0x3F800000
    for function, wanted in (
        (ex2_hopper, [one, one, one, one, POS_INF, 0, NAN, NAN]),
        (rcp_hopper, [POS_INF, NEG_INF, POS_INF, NEG_INF, 0, NEG_ZERO, NAN, NAN]),
        (lg2_hopper, [NEG_INF, NEG_INF, NEG_INF, NEG_INF, POS_INF, NAN, NAN, NAN]),
    ):
        np.testing.assert_array_equal(function(words), np.array(wanted, np.uint32))
    assert lg2_hopper(np.uint32(0xBF800000)) == NAN


def test_where_the_normal_range_ends():
    def ex2(x):
        return int(ex2_hopper(np.float32(x).view(np.uint32)))

    assert [ex2(-126), ex2(-126.01), ex2(-127)] == [0x00800000, 0, 0]
    assert [ex2(127), ex2(128), ex2(1e9), ex2(-1e9)] == [0x7F000000, POS_INF, POS_INF, 0]
    assert [ex2(2.0**-24), ex2(-(2.0**-24)), ex2(-(2.0**-23))] == [0x3F800000, 0x3F800000, 0x3F7FFFFE]
    assert rcp_hopper(np.array([0x7E800000, 0x7E800001, 0xFF000000], np.uint32)).tolist() == [0x00800000, 0, NEG_ZERO]


def test_exact_points_that_are_none():
    """lg2(1) is 0 by exception; lg2(1/2) is not -1."""
    got = lg2_hopper(np.array([1.0, 2.0, 0.5, 1 + 2.0**-23], np.float32).view(np.uint32)).view(np.float32)
    assert got.tolist() == [0, 1, -1 + 2.0**-23, 19195 * 2.0**-36]


def test_widths_of_the_coefficients():
    for table, length, sign in ((EX2, 64, 1), (RCP, 128, 1), (LG2, 64, -1)):
        c0, c1, c2 = np.array(table).T
        assert len(table) == length and c0.min() >= 0 and c0.max() <= 1 << 26
        assert np.abs(c1).max() < 1 << 16 and (np.sign(c1) == (-1 if table is RCP else 1)).all()
        assert np.abs(c2).max() < 1 << (11 if table is LG2 else 10) and (np.sign(c2) == sign).all()
    assert not (np.array(LG2)[:, 2] % 2).any()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rejects(name):
    with pytest.raises(TypeError, match="x must be an array of uint32, not of float32"):
        FUNCTIONS[name](np.float32([1]))


@njit()
def _sums(function, first, out):
    """For each 2^16 words from first · 2^16 on the sum of a hash of argument and result."""
    for block in range(len(out)):
        total = np.uint64(0)
        for low in range(1 << 16):
            x = np.uint32(((first + block) << 16) | low)
            word = np.uint32(x * np.uint32(0x9E3779B1)) ^ np.uint32(function(x))
            word = np.uint32(word * np.uint32(0x85EBCA6B))
            total += np.uint64(np.uint32((word ^ (word >> np.uint32(15))) * np.uint32(0xC2B2AE35)))
        out[block] = total


@pytest.mark.nightly
@pytest.mark.parametrize(("function", "digest"), [
    (ex2_word, "65122763e54702c622e2550badea99e055a875347f2ff2022f60edb096bc9489"),
    (rcp_word, "fada37b7e7b5ddd5f4e01844d6f6ecf91ab4e59205581e8e52db0aaf4388bab5"),
    (lg2_word, "1a8abb67ac991e0575ca52dcd16f6e6e32a3edb24d63aa839bf40b50055f004c"),
], ids=["ex2", "rcp", "lg2"])
def test_all_words(function, digest):
    """All 2^32 arguments: the sums that an H200 gave for its own results, as their SHA-256."""
    sums = np.zeros(1 << 16, np.uint64)
    _sums(function, 0, sums)
    assert sha256(sums.astype("<u8").tobytes()).hexdigest() == digest
