"""The tensor core against recordings of an H200's matrix instruction, and its arguments.

`data/hopper_tensor_core.npz`: D = A·B + C, problems of 64 x k x 8, with normal, wide, cancelling, subnormal, infinite
and NaN inputs; `<format>_chain_*`: several instructions on one accumulator.
"""

import random
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from amla.model import tensor_core
from amla.model.fp.fdpa import matmul
from amla.model.fp.formats import FP16
from amla.model.hopper.tensor_core import PROFILES

DATA = np.load(Path(__file__).parents[1] / "data" / "hopper_tensor_core.npz")
FORMATS = ("bf16", "f16", "e4m3")


def problem(prefix):
    return [DATA[f"{prefix}_{name}"] for name in "abcd"]


@pytest.mark.parametrize("format", FORMATS)
def test_every_recorded_instruction(format):
    a, b, c, d = problem(format)
    np.testing.assert_array_equal(tensor_core(a, b, c, format=format), d)
    field, fraction = d >> 23 & 0xFF, d & 0x7FFFFF
    events = {"finite": field < 255, "subnormal": (field == 0) & (fraction > 0), "zero": d == 0,
              "infinite": (field == 255) & (fraction == 0), "nan": d == 0x7FFFFFFF}
    for event, happened in events.items():
        assert happened.sum() >= 50, f"the recording has too few: {event}"


@pytest.mark.parametrize("format", ["bf16", "e4m3"])
def test_every_recorded_chain(format):
    a, b, c, d = problem(f"{format}_chain")
    problems, steps, m, k = a.shape
    a = a.transpose(0, 2, 1, 3).reshape(problems, m, steps * k)
    b = b.reshape(problems, steps * k, -1)
    np.testing.assert_array_equal(tensor_core(a, b, c, format=format), d)
    by_step = c
    for step in range(steps):
        part = slice(step * k, (step + 1) * k)
        by_step = tensor_core(a[..., part], b[:, part], by_step, format=format)
    np.testing.assert_array_equal(by_step, d)


def test_overflow_is_infinite_though_rounding_is_toward_zero():
    a, b = np.full((1, 16), 0x7F7F, np.uint16), np.zeros((16, 1), np.uint16)
    b[:2] = 0x3F80
    assert tensor_core(a, b, np.zeros((1, 1), np.uint32)) == 0x7F800000
    b[1] = 0
    assert tensor_core(a, b, np.full((1, 1), 0x7B7FFFFF, np.uint32)) == 0x7F7FFFFF  # to nearest: infinite


def test_a_sum_below_the_last_place_is_cut_to_the_subnormals():
    a, b = np.zeros((1, 16), np.uint16), np.zeros((16, 1), np.uint16)
    a[0, 0], b[0] = 0x0003, 0x3F00  # 3 · 2^-133 / 2
    assert tensor_core(a, b, np.full((1, 1), 5, np.uint32)) == (3 << 15) + 5
    assert tensor_core(a, b, np.full((1, 1), 5, np.uint32), profile="amla") == 0


def test_a_sum_below_all_subnormals_is_plus_zero():
    """Not in the recording, but seen on an H200."""
    for a, b, c in ((0x8002, 0x0800, 0), (0x8100, 0x0080, 1 << 31), (0x007F, 0x807F, 1 << 31), (0x8001, 0x0001, 0)):
        words = np.full((1, 16), a, np.uint16), np.full((16, 1), b, np.uint16), np.full((1, 1), c, np.uint32)
        assert tensor_core(*words) == 0 and tensor_core(*words, profile="amla") in (0, 1 << 31)


@pytest.mark.parametrize(("name", "format"), [("bf16", None), ("f16", FP16), ("fp16", FP16)])
def test_profile_amla_is_the_projects_own_product(name, format):
    rng = np.random.default_rng(7)
    a, b = rng.integers(0x3000, 0x4800, (2, 5, 32)).astype(np.uint16), rng.integers(0, 1 << 16, (32, 6))
    b = b.astype(np.uint16)
    c = rng.integers(0, 1 << 32, (2, 5, 6), dtype=np.uint32)
    options = {} if format is None else {"format": format}
    wanted = [matmul(a[i], np.ascontiguousarray(b.T), k=16, acc_frac_bits=30, c=c[i], **options) for i in range(2)]
    np.testing.assert_array_equal(tensor_core(a, b, c, profile="amla", format=name), wanted)


def test_e4m3_in_profile_amla():
    """The exact sum of products of all finite words with 1.0 and the smallest one."""
    words = np.array([word for word in range(256) if word & 0x7F != 0x7F], np.uint8)
    a, b = np.zeros((len(words), 16), np.uint8), np.zeros((16, 1), np.uint8)
    a[:, 3], b[3] = words, 0x01
    field, fraction = words >> 3 & 15, words & 7
    value = np.where(field > 0, (8.0 + fraction) * 2.0 ** (field - 10.0), fraction * 2.0**-9) * 2.0**-9
    wanted = np.where(words >> 7, -value, value).astype(np.float32).view(np.uint32)
    wanted[wanted == 1 << 31] = 0
    got = tensor_core(a, b, np.zeros((len(words), 1), np.uint32), profile="amla", format="e4m3")
    np.testing.assert_array_equal(got[:, 0], wanted)


def test_leading_dimensions_are_broadcast():
    rng = np.random.default_rng(8)
    a, b, c = (rng.integers(0x3000, 0x4800, shape).astype(np.uint16) for shape in ((3, 1, 4, 16), (2, 16, 5), (4, 5)))
    c = c.astype(np.uint32) << 16
    got = tensor_core(a, b, c)
    assert got.shape == (3, 2, 4, 5) and got.dtype == np.uint32
    for i, j in np.ndindex(3, 2):
        np.testing.assert_array_equal(got[i, j], tensor_core(a[i, 0], b[j], c))
    assert tensor_core(a[:0], b, c).shape == (0, 2, 4, 5)


def test_rejects():
    a, b, c = np.zeros((4, 32), np.uint16), np.zeros((32, 5), np.uint16), np.zeros((4, 5), np.uint32)
    for change, message in (
        ({"a": a.astype(np.uint8)}, r"a must be an array of words \(uint16\), not dtype\('uint8'\)"),
        ({"b": b.tolist()}, r"b must be an array of words \(uint16\), not \[\["),
        ({"c": c.view(np.float32)}, r"c must be an array of words \(uint32\), not dtype\('float32'\)"),
        ({"profile": None}, "profile must be a str, not None"),
        ({"format": 16}, "format must be a str, not 16"),
        ({"format": "e4m3"}, r"a must be an array of words \(uint8\), not dtype\('uint16'\)"),
    ):
        with pytest.raises(TypeError, match=message):
            tensor_core(**{"a": a, "b": b, "c": c, **change})
    for change, message in (
        ({"profile": "volta"}, "profile must be one of amla, hopper, hopper-fp8, not 'volta'"),
        ({"format": "tf32"}, "format must be one of bf16, f16, fp16, e4m3, not 'tf32'"),
        ({"profile": "hopper-fp8"}, "format must be e4m3 with profile hopper-fp8, not 'bf16'"),
        ({"a": a[0]}, "a must have at least two dimensions, not 1"),
        ({"a": a[:, :24]}, "a must have rows of a multiple of k = 16 words, not 24"),
        ({"a": a[:, :0], "b": b[:0]}, "a must have rows of a multiple of k = 16 words, not 0"),
        ({"b": b[:16]}, "b must have 32 rows, as many as a has columns, not 16"),
        ({"c": c[:3]}, r"c must have the shape \[..., 4, 5\], not \(3, 5\)"),
        ({"a": np.stack([a] * 2), "b": np.stack([b] * 3)}, "a, b and c must have leading dimensions that broadcast"),
    ):
        with pytest.raises(ValueError, match=message):
            tensor_core(**{"a": a, "b": b, "c": c, **change})


def test_profiles_have_the_measured_numbers():
    assert (PROFILES["hopper"].acc_frac_bits, PROFILES["hopper"].fraction_bits) == (25, 23)
    assert (PROFILES["hopper-fp8"].acc_frac_bits, PROFILES["hopper-fp8"].fraction_bits) == (13, 13)


@pytest.mark.parametrize(("format", "change"), [
    ("bf16", {"acc_frac_bits": 24}), ("f16", {"acc_frac_bits": 26}), ("bf16", {"align": "nearest"}),
    ("f16", {"round": "nearest"}), ("bf16", {"subnormals": False}), ("e4m3", {"acc_frac_bits": 14}),
    ("e4m3", {"fraction_bits": 14}), ("e4m3", {"k": 16}), ("e4m3", {"align": "nearest"}),
], ids=str)
def test_other_numbers_do_not_fit_the_recording(format, change, monkeypatch):
    name = "hopper-fp8" if format == "e4m3" else "hopper"
    monkeypatch.setitem(PROFILES, name, replace(PROFILES[name], **change))
    a, b, c, d = problem(format)
    assert not np.array_equal(tensor_core(a, b, c, format=format), d)


def _uniform(bits):
    """Words of 16,384 matrices A and B of one word each, and c: corners, both zeros, small and any words."""
    rng = random.Random(5)
    corners = [0, 1, 2, 3, 7, 8, 127, 128, *(word << place for place in (7, 10) for word in (1, 2, 8))]
    for i in range(1 << 14):
        ab = [(rng.choice(corners) ^ rng.getrandbits(1) << bits - 1) & (1 << bits) - 1 if i % 4 < 2
              else rng.getrandbits(bits) for _ in range(2)]
        word = rng.getrandbits(32)
        kind = i % 4 if i % 8 < 4 else rng.randrange(4)
        yield *ab, [0, 1 << 31, word & 0x80FFFFFF, word][kind]


@pytest.mark.parametrize(("format", "digest"), [
    ("bf16", "2762758accb4113f61f5ead1afd80e9996fb899d2a7cd590b176ec986bc1cd7b"),
    ("f16", "35f873455d9c3d2fb3d7eefacba60f962bfa3b6cded37ffb87219a04616aa703"),
    ("e4m3", "d63a0d75132060e3c54d7a8ecd127da7a0ff371fc5bed734dea540a3156bab42"),
], ids=["bf16", "f16", "e4m3"])
def test_uniform_matrices(format, digest):
    """Results of an H200 where all products are equal, as their SHA-256: what underflows and overflows."""
    bits, k = (8, 32) if format == "e4m3" else (16, 16)
    a, b, c = np.array([*_uniform(bits)], dtype=np.uint32).T[:, :, None, None]
    a, b = (np.repeat(words.astype(f"u{bits // 8}"), k, axis) for words, axis in ((a, 2), (b, 1)))
    got = tensor_core(a, b, c, format=format)
    assert sha256(got.astype("<u4").tobytes()).hexdigest() == digest
