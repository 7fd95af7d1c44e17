"""Arrays of a decode step: checks, and .npz files."""

import ml_dtypes
import numpy as np
import pytest
from amla.sw.errors import AmlaError
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.inputs import Inputs, load_npz, save_npz

pytestmark = pytest.mark.smoke


@pytest.fixture
def arrays(tiny_workload):
    inputs = make_inputs(tiny_workload)
    return {name: getattr(inputs, name).copy() for name in ("q", "kv_cache", "block_table", "cache_seqlens")}


def _bits(array):
    return array.view(np.uint16) if array.dtype == ml_dtypes.bfloat16 else array


@pytest.mark.parametrize("store", [lambda a: a, lambda a: a.view(np.uint16), lambda a: a.view("V2")],
                         ids=["bfloat16", "words", "raw"])
def test_round_trip(tmp_path, arrays, store):
    np.savez(tmp_path / "a.npz", **arrays | {name: store(arrays[name]) for name in ("q", "kv_cache")})
    loaded = load_npz(tmp_path / "a.npz")
    for name, array in arrays.items():
        assert np.array_equal(_bits(getattr(loaded, name)), _bits(array)), name
    save_npz(tmp_path / "b.npz", loaded)
    assert np.array_equal(_bits(load_npz(tmp_path / "b.npz").q), _bits(arrays["q"]))


def test_a_cache_without_head_axis(arrays):
    inputs = Inputs(**arrays | {"kv_cache": arrays["kv_cache"][:, :, 0]})
    assert inputs.kv_cache.shape == arrays["kv_cache"].shape


@pytest.mark.parametrize(("change", "message"), [
    (lambda a: a | {"q": a["q"].astype(np.float32)}, "q must be an array of bfloat16 or float16, not of float32"),
    (lambda a: a | {"q": a["q"][0]}, r"q must have shape \[b, s_q, h_q, d\]"),
    (lambda a: a | {"q": a["q"][:0]}, "q must have at least one request|batch size"),
    (lambda a: a | {"kv_cache": a["kv_cache"][..., :8]}, "kv_cache must have .*dimension"),
    (lambda a: a | {"kv_cache": np.repeat(a["kv_cache"], 2, axis=2)}, "kv_cache must have .*head"),
    (lambda a: a | {"block_table": a["block_table"].astype(np.int64)},
     "block_table must be an array of int32"),
    (lambda a: a | {"block_table": a["block_table"][:1]}, "block_table must have .*3"),
    (lambda a: a | {"cache_seqlens": a["cache_seqlens"] + 1000}, r"cache_seqlens\[0\] must be at most"),
    (lambda a: a | {"cache_seqlens": a["cache_seqlens"] - 200}, r"cache_seqlens\[0\] must be at least 0"),
    (lambda a: a | {"block_table": a["block_table"] + 1000}, r"block_table\[0, 0\] must be a page from 0 to"),
    (lambda a: a | {"block_table": a["block_table"] * 0 - 1}, r"block_table\[0, 0\] must be a page"),
])
def test_wrong_arrays(tmp_path, arrays, change, message):
    wrong = change(arrays)
    with pytest.raises(AmlaError, match=message):
        Inputs(**wrong)
    np.savez(tmp_path / "a.npz", **wrong)
    with pytest.raises(AmlaError, match=f"^a.npz: .*({message})"):
        load_npz(tmp_path / "a.npz")


def test_unreadable_files(tmp_path, arrays):
    with pytest.raises(AmlaError, match=r"cannot read .*nowhere.npz: No such file"):
        load_npz(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(AmlaError, match=r"cannot read .*text.npz"):
        load_npz(tmp_path / "text.npz")
    np.savez(tmp_path / "a.npz", **arrays)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-200])
    with pytest.raises(AmlaError, match=r"cannot read .*cut.npz"):
        load_npz(tmp_path / "cut.npz")
    (tmp_path / "empty.npz").write_bytes(b"")
    with pytest.raises(AmlaError, match=r"cannot read .*empty.npz"):
        load_npz(tmp_path / "empty.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(AmlaError, match=r"one.npy must be an .npz archive"):
        load_npz(tmp_path / "one.npy")
    np.savez(tmp_path / "pickled.npz", **arrays | {"q": np.array([object()], dtype=object)})
    with pytest.raises(AmlaError, match=r"cannot read .*pickled.npz"):
        load_npz(tmp_path / "pickled.npz")


def test_missing_array(tmp_path, arrays):
    del arrays["block_table"]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(AmlaError, match=r"a\.npz: missing array 'block_table'"):
        load_npz(tmp_path / "a.npz")
