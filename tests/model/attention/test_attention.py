"""Properties of attention over KV blocks: accuracy, splitting, needles, masks, NaN."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from amla.model.attention.attention import attend
from amla.model.attention.softmax import softmax_scale_word
from amla.model.numerics import HARDWARE_MODES, MODES, P_FORMATS, Numerics

BF16 = ml_dtypes.bfloat16


def run(q, kv, *, limits=None, width=None, scale=None, mode="amla", **numerics):
    """Attention of float arrays q [R, d] and kv [n, d]; returns float64 output, FP32 LSE."""
    d = q.shape[1]
    rows, words = (np.ascontiguousarray(array.astype(BF16)).view(np.uint16) for array in (q, kv))
    limits = np.full(len(q), len(kv), np.int64) if limits is None else np.array(limits)
    out, lse = attend(
        rows, lambda start, stop: words[start:stop], len(kv), limits, head_dim_v=width or d,
        scale_word=softmax_scale_word(scale or d**-0.5, mode=mode), mode=mode, numerics=Numerics(**numerics),
    )
    return out.view(np.float32).astype(np.float64), lse.view(np.float32).astype(np.float64)


def oracle(q, kv, *, width=None, scale=None):
    q, kv = q.astype(BF16).astype(np.float64), kv.astype(BF16).astype(np.float64)
    scores = (q @ kv.T) * (scale or q.shape[1]**-0.5)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    lse = scores.max(axis=1) + np.log(weights.sum(axis=1))
    return weights / weights.sum(axis=1, keepdims=True) @ kv[:, :width], lse


def relative(got, wanted):
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


def test_rescaling_by_addition_is_as_accurate_as_by_multiplication():
    rng = np.random.default_rng(7)
    q, kv = rng.normal(size=(32, 576)), rng.normal(size=(2048, 576))
    wanted, _ = oracle(q, kv, width=512, scale=192**-0.5)
    error = {
        (mode, p_format): relative(run(q, kv, width=512, scale=192**-0.5, mode=mode, kv_block=128, p_format=p_format,
                                       comp_bits=comp_bits)[0], wanted)
        for mode in ("amla", "mul") for p_format, comp_bits in zip(P_FORMATS, (2, 0), strict=True)
    }
    # Beside the finer P what the offsets cost shows a little more.
    for p_format, low, high, most in (("operand", 5e-4, 3e-3, 1.1), ("u6.10", 5e-5, 3e-4, 1.2)):
        assert low < error["mul", p_format] < high
        assert error["amla", p_format] <= most * error["mul", p_format]


@pytest.mark.parametrize("mode", HARDWARE_MODES)
@pytest.mark.parametrize("direction", [1, -1])
def test_a_drifting_maximum_loses_nothing(mode, direction):
    """Scores that rise (fall) by 40 in base e from the first key to the last: every block rescales."""
    rng = np.random.default_rng(11)
    q, kv = np.zeros((4, 32)), rng.normal(size=(640, 32))
    q[:, 0] = [1, 2, 3, 4]
    kv[:, 0] = np.linspace(0, 10, 640)[::direction]
    wanted, wanted_lse = oracle(q, kv, scale=1.0)
    got, lse = run(q, kv, scale=1.0, mode=mode, kv_block=32)
    assert relative(got, wanted) < 3e-3
    assert np.all(np.abs(lse - wanted_lse) <= np.maximum(1e-6, 8.01 / 65536 * np.abs(wanted_lse)))


@pytest.mark.parametrize("mode", HARDWARE_MODES)
@pytest.mark.parametrize("position", [0, 31, 32, 100, 127, 128])
def test_a_needle_is_found_in_every_block(mode, position):
    rng = np.random.default_rng(position)
    q, kv = rng.normal(size=(3, 32)), rng.normal(size=(129, 32)) / 8
    q[:, 0] = 30.0
    kv[position, 0] = 40.0
    got, lse = run(q, kv, mode=mode, kv_block=32)
    needle = kv[position].astype(BF16).astype(np.float64)
    assert np.all(np.abs(got - needle) <= 2**-20 * np.abs(needle).max())
    assert np.allclose(lse, oracle(q, kv)[1], rtol=1e-6)


def test_a_row_with_one_key_is_that_key():
    rng = np.random.default_rng(5)
    q, kv = rng.normal(size=(6, 16)), rng.normal(size=(70, 16))
    for mode in ("amla", "mul"):
        got, lse = run(q, kv, limits=[1] * 6, mode=mode, kv_block=16)
        assert np.array_equal(got.astype(BF16), np.broadcast_to(kv[0].astype(BF16), got.shape))
        assert np.allclose(lse, oracle(q, kv[:1])[1], atol=1e-6)


@pytest.mark.parametrize("mode", HARDWARE_MODES)
@pytest.mark.parametrize("kv_block", [16, 48, 512])
def test_equal_scores_average_the_values_exactly(mode, kv_block):
    """64 keys of one score: P is 1, so integers average without error."""
    q, kv = np.zeros((2, 16)), np.random.default_rng(9).integers(-8, 9, size=(64, 16)).astype(float)
    got, lse = run(q, kv, mode=mode, kv_block=kv_block)
    assert np.array_equal(got, np.broadcast_to(kv.mean(axis=0), got.shape))
    assert np.allclose(lse, np.log(64), rtol=1e-7)


def test_without_rescaling_the_modes_agree_to_their_rounding():
    rng = np.random.default_rng(13)
    q, kv = rng.normal(size=(8, 32)), rng.normal(size=(100, 32))
    amla, mul = (run(q, kv, mode=mode, kv_block=128)[0] for mode in ("amla", "mul"))
    wanted = oracle(q, kv)[0]
    assert relative(amla, wanted) < 3e-3 and relative(mul, wanted) < 3e-3


def test_the_block_changes_bits_within_the_rounding_only():
    rng = np.random.default_rng(17)
    q, kv = rng.normal(size=(8, 32)), rng.normal(size=(300, 32))
    one = run(q, kv, kv_block=512)
    for kv_block in (16, 32, 112):
        out, lse = run(q, kv, kv_block=kv_block)
        assert relative(out, one[0]) < 4e-3 and np.allclose(lse, one[1], rtol=1e-6)


@pytest.mark.parametrize("mode", HARDWARE_MODES)
def test_rows_do_not_depend_on_their_neighbours(mode):
    rng = np.random.default_rng(19)
    q, kv = rng.normal(size=(9, 32)), rng.normal(size=(100, 32))
    limits = rng.integers(0, 101, size=9)
    out, lse = run(q, kv, limits=limits, mode=mode, kv_block=32)
    for row in range(9):
        alone = run(q[row:row + 1], kv, limits=limits[row:row + 1], mode=mode, kv_block=32)
        assert np.array_equal(alone[0][0], out[row]) and alone[1][0] == lse[row]


@pytest.mark.parametrize("mode", HARDWARE_MODES)
def test_a_limit_equals_a_shorter_sequence(mode):
    """Keys past a row's limit change no bit, in its last block and in the blocks beyond."""
    rng = np.random.default_rng(23)
    q, kv = rng.normal(size=(1, 32)), rng.normal(size=(100, 32))
    for limit in (1, 31, 32, 33, 64, 99):
        masked = run(q, kv, limits=[limit], mode=mode, kv_block=32)
        cut = run(q, kv[:limit], mode=mode, kv_block=32)
        assert np.array_equal(masked[0], cut[0]) and np.array_equal(masked[1], cut[1])


@pytest.mark.parametrize("mode", HARDWARE_MODES)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_in_valid_data(mode, poison):
    """A NaN or inf in a key reaches the rows that see the key, and no other."""
    rng = np.random.default_rng(29)
    q, kv = rng.normal(size=(3, 32)), rng.normal(size=(80, 32))
    kv[50, 31] = poison  # a K-only column
    out, lse = run(q, kv, limits=[80, 51, 50], width=16, mode=mode, kv_block=16)
    minus = np.sign(q[:, 31]) * np.sign(poison) < 0  # a score of -inf simply gets no weight
    for row in range(2):
        if minus[row]:
            assert np.isfinite(out[row]).all() and np.isfinite(lse[row])
        else:
            assert np.isnan(out[row]).all() and np.isnan(lse[row])
    assert np.isfinite(out[2]).all() and np.isfinite(lse[2])

    q_nan = q.copy()
    q_nan[1, 3] = np.nan
    out, lse = run(q_nan, rng.normal(size=(80, 32)), mode=mode, kv_block=16)
    assert np.isnan(out).any(axis=1).tolist() == np.isnan(lse).tolist() == [False, True, False]


@pytest.mark.parametrize("mode", MODES)
def test_a_block_of_minus_infinity_behind_others(mode):
    """It takes nothing from what the blocks before and after it add."""
    rng = np.random.default_rng(30)
    q, kv = rng.normal(size=(4, 32)), rng.normal(size=(64, 32))
    q[:, 31], kv[:, 31] = 2.0, 0.0
    kv[16:48, 31] = -np.inf
    others = np.concatenate([kv[:16], kv[48:]])
    out, lse = run(q, kv, width=16, mode=mode, kv_block=16)
    wanted, wanted_lse = run(q, others, width=16, mode=mode, kv_block=16)
    np.testing.assert_allclose(out, wanted, atol=1e-4)
    np.testing.assert_allclose(lse, wanted_lse, rtol=1e-5)


@pytest.mark.parametrize("mode", HARDWARE_MODES)
def test_rows_without_key(mode):
    rng = np.random.default_rng(31)
    q, kv = rng.normal(size=(4, 32)), rng.normal(size=(40, 32))
    out, lse = run(q, kv, limits=[0, -3, 1, 40], mode=mode, kv_block=16)
    assert not out[:2].any() and not np.signbit(out[:2]).any() and lse[:2].tolist() == [np.inf, np.inf]
    assert np.isfinite(lse[2:]).all() and out[2:].any(axis=1).all()
    out, lse = run(q, kv[:0], limits=[0] * 4, mode=mode)
    assert not out.any() and np.isposinf(lse).all()


@pytest.mark.parametrize("mode", MODES)
def test_memory_does_not_grow_with_the_keys(mode):
    """Peak allocation over 256 KV blocks is that over four."""
    rng = np.random.default_rng(37)
    q, block = (rng.normal(size=(rows, 32)).astype(BF16).view(np.uint16) for rows in (16, 64))

    def peak(length):
        tracemalloc.start()
        attend(q, lambda start, stop: block[:stop - start], length, np.full(16, length), head_dim_v=32,
               scale_word=softmax_scale_word(0.2, mode=mode), mode=mode, numerics=Numerics(kv_block=64))
        _, largest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return largest

    peak(64)
    assert peak(256 * 64) < 1.1 * peak(4 * 64)
