"""Arrays of a decode step: checks, and .npz files."""

import ml_dtypes
import numpy as np
import pytest
from amla.sw.errors import AmlaError
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.inputs import Inputs, load_npz, save_npz
from amla.sw.workload.workload import Workload

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
    (lambda a: a | {"kv_cache": a["kv_cache"][..., :8]}, r"kv_cache must have shape \[blocks, page, h_kv, 48\]"),
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


@pytest.fixture(params=["bf16", "fp8-656", "fp8-584"])
def listed(request):
    """Inputs with lists, a second cache and sinks, in each format of a cache."""
    head_dim = {"bf16": 64, "fp8-656": 576, "fp8-584": 512}[request.param]
    return make_inputs(Workload.from_dict({
        "heads": 4, "q_tokens": 2, "lengths": [50, 7], "cache": request.param, "head_dim": head_dim, "head_dim_v": 32,
        "page_size": 5, "topk": 20, "topk_lengths": [20, 4], "sink": True,
        "extra": {"lengths": [9, 12], "topk": 6, "page_size": 2}}))


def test_a_round_trip_of_lists(tmp_path, listed):
    """Pages of 584 bytes that lie apart are stored without what is between them."""
    save_npz(tmp_path / "a.npz", listed)
    loaded = load_npz(tmp_path / "a.npz")
    assert loaded.cache == listed.cache and loaded.cache_seqlens is None and loaded.extra_topk_length is None
    for name, array in listed.arguments().items():
        if array is not None:
            assert np.array_equal(_bits(getattr(loaded, name)), _bits(array)), name
    for ours, theirs in zip(listed.sequences, loaded.sequences, strict=True):
        assert np.array_equal(ours.slots, theirs.slots) and np.array_equal(ours.extra, theirs.extra)


def test_flashmlas_name_of_the_cache(tmp_path, arrays):
    arrays["k_cache"] = arrays.pop("kv_cache")
    np.savez(tmp_path / "a.npz", **arrays, colour=np.zeros(3))
    assert np.array_equal(_bits(load_npz(tmp_path / "a.npz").kv_cache), _bits(arrays["k_cache"]))


def test_float8_bytes(tmp_path, listed):
    arrays = {name: array for name, array in listed.arguments().items() if array is not None}
    if listed.cache != "bf16":
        for name in ("kv_cache", "extra_k_cache"):
            arrays[name] = np.ascontiguousarray(arrays[name]).view(ml_dtypes.float8_e4m3fn)
    np.savez(tmp_path / "a.npz", **arrays)
    assert load_npz(tmp_path / "a.npz").cache == listed.cache


def test_sequences_are_requests_or_query_tokens(arrays, listed):
    inputs = Inputs(**arrays)
    page = inputs.kv_cache.shape[1]
    for request, sequence in enumerate(inputs.sequences):
        keys = np.arange(inputs.cache_seqlens[request])
        wanted = inputs.block_table[request, keys // page].astype(np.int64) * page + keys % page
        assert (sequence.request, sequence.token, sequence.rows) == (request, 0, 16)
        assert sequence.slots.tolist() == wanted.tolist() and sequence.length == len(keys) and not len(sequence.extra)
    for index, sequence in enumerate(listed.sequences):
        request, token = divmod(index, 2)
        counted = listed.indices[request, token, :listed.topk_length[request]]
        more = listed.extra_indices_in_kvcache[request, token]
        assert (sequence.request, sequence.token, sequence.rows) == (request, token, 4)
        assert sequence.slots.dtype == sequence.extra.dtype == np.int64
        assert sequence.slots.tolist() == counted[counted >= 0].tolist()
        assert sequence.extra.tolist() == more[more >= 0].tolist()
        assert sequence.length == len(sequence.slots) + len(sequence.extra)


def test_lists_need_no_table(listed):
    table = np.zeros((1, 1), np.float32)  # not read, so not checked
    inputs = Inputs(**{**listed.arguments(), "block_table": table, "cache_seqlens": table})
    assert inputs.block_table is None and inputs.cache_seqlens is None


@pytest.mark.parametrize(("change", "message"), [
    ({"indices": np.full((2, 2, 20), 10**6, np.int32)},
     r"indices\[0, 0, 0\] must be -1 or a slot from 0 to \d+, not 1000000"),
    ({"topk_length": np.array([20, 21], np.int32)}, r"topk_length\[1\] must be from 0 to topk = 20, not 21"),
    ({"extra_indices_in_kvcache": np.full((2, 2, 6), -2, np.int32)},
     r"extra_indices_in_kvcache\[0, 0, 0\] must be -1 or a slot from 0 to \d+, not -2"),
    ({"extra_k_cache": None}, "extra_k_cache and extra_indices_in_kvcache must be given together"),
    ({"attn_sink": np.zeros(3, np.float32)}, r"attn_sink must have shape \[4\]"),
    ({"indices": None}, "extra_k_cache must be None without indices"),
])
def test_wrong_lists(listed, change, message):
    with pytest.raises(AmlaError, match=f"^{message}"):
        Inputs(**{**listed.arguments(), **change})
