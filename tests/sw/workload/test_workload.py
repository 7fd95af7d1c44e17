"""Workloads from YAML: values, defaults, and one clear error per wrong thing."""

from pathlib import Path

import numpy as np
import pytest
from amla.sw.errors import AmlaError
from amla.sw.workload.extra import ExtraCache
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.inputs import save_npz
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke

_GOOD = {"heads": 4, "lengths": [3, 0], "head_dim": 48, "head_dim_v": 32}
_EXTRA = {"lengths": [5, 6], "topk": 4}


def test_defaults():
    load = Workload.from_dict({"heads": 128, "lengths": [10]}, source="mine.yaml")
    assert (load.name, load.head_dim, load.head_dim_v, load.page_size, load.q_tokens) == ("mine", 576, 512,
                                                                                          64, 1)
    assert load.poison and not load.causal
    assert load.scale == pytest.approx(192**-0.5)


def test_scale_follows_the_inputs():
    assert Workload.from_dict({**_GOOD, "inputs": "normal"}).scale == pytest.approx(48**-0.5)
    assert Workload.from_dict({**_GOOD, "softmax_scale": 2}).scale == 2.0


def test_rows_and_pages():
    load = Workload.from_dict({**_GOOD, "q_tokens": 3, "page_size": 2})
    assert (load.rows, load.pages) == (12, (2, 0))


@pytest.mark.parametrize(("cache", "head_dim"), [(None, 576), ("fp16", 576), ("fp8-656", 576), ("fp8-584", 512)])
def test_caches(cache, head_dim):
    load = Workload(name="w", heads=4, lengths=(3,), head_dim=head_dim, cache=cache)
    assert (load.rotary, load.head_dim_v) == (64, 512)
    assert load.fp8 == str(cache).startswith("fp8") and load.scale == pytest.approx(192**-0.5)


def test_lists():
    load = Workload.from_dict({**_GOOD, "topk": 8, "topk_lengths": [8, 3], "window": 2, "sink": True,
                               "extra": {**_EXTRA, "page_size": 2, "topk_lengths": [0, 4]}})
    assert (load.topk, load.topk_lengths, load.window, load.sink) == (8, (8, 3), 2, True)
    assert load.extra == ExtraCache(lengths=(5, 6), topk=4, topk_lengths=(0, 4), page_size=2)
    with pytest.raises(AmlaError, match=r"^extra must be an ExtraCache, not {"):
        Workload(name="w", heads=4, lengths=(3, 0), topk=4, extra=_EXTRA)


def test_numbers_of_any_kind_are_taken():
    load = Workload(name="w", heads=np.int64(4), lengths=tuple(np.array([3, 0])), q_tokens=np.uint8(2),
                    softmax_scale=np.float32(0.5))
    assert load == Workload(name="w", heads=4, lengths=(3, 0), q_tokens=2, softmax_scale=0.5)
    assert {type(value) for value in (load.heads, load.q_tokens, *load.lengths)} == {int}
    assert type(load.softmax_scale) is float


@pytest.mark.parametrize(("change", "message"), [
    ({"colour": 1}, "unknown key 'colour'; known keys are name, heads"),
    ({"heads": 0}, "heads must be an integer from 1 to 1024, not 0"),
    ({"heads": "8"}, "heads must be an integer from 1 to 1024, not '8'"),
    ({"heads": True}, "heads must be an integer from 1 to 1024, not True"),
    ({"q_tokens": 17}, "q_tokens must be an integer from 1 to 16, not 17"),
    ({"causal": 1}, "causal must be true or false, not 1"),
    ({"lengths": []}, "lengths must be a list of at least one integer"),
    ({"lengths": 5}, "lengths must be a list of at least one integer, not 5"),
    ({"lengths": [1, -1]}, r"lengths\[1\] must be an integer from 0 to 4194304, not -1"),
    ({"lengths": [1.5]}, r"lengths\[0\] must be an integer"),
    ({"page_size": 0}, "page_size must be an integer from 1 to 1024, not 0"),
    ({"page_size": 1025}, "page_size must be an integer from 1 to 1024, not 1025"),
    ({"head_dim": 1056}, "head_dim must be an integer from 1 to 1024, not 1056"),
    ({"head_dim_v": 64}, "head_dim_v must be at most head_dim = 48, not 64"),
    ({"head_dim_v": 48}, "head_dim must be head_dim_v plus an even number of rotary columns"),
    ({"inputs": "ones"}, r"inputs must be layer, normal or the path of an \.npz file, not 'ones'"),
    ({"softmax_scale": 0.0}, "softmax_scale must be a positive number"),
    ({"softmax_scale": "x"}, "softmax_scale must be a positive number"),
    ({"softmax_scale": float("nan")}, "softmax_scale must be a positive number"),
    ({"seed": -1}, "seed must be an integer from 0"),
    ({"poison": "no"}, "poison must be true or false, not 'no'"),
    ({"cache": "fp8"}, "cache must be one of bf16, fp16, fp8-656, fp8-584, not 'fp8'"),
    ({"cache": ["bf16"]}, r"cache must be one of .*, not \('bf16',\)"),
    ({"cache": "fp8-656"}, "head_dim must be 576 with cache: fp8-656, not 48"),
    ({"cache": "fp8-584"}, "head_dim must be 512 with cache: fp8-584, not 48"),
    ({"cache": "fp8-656", "head_dim": 576, "head_dim_v": 576}, "head_dim_v must be at most 512 with cache: fp8-656"),
    ({"sink": 1}, "sink must be true or false, not 1"),
    ({"topk_lengths": [1, 2]}, r"topk_lengths must be None without topk, not \(1, 2\)"),
    ({"window": 4}, "window must be 0 without topk, not 4"),
    ({"extra": _EXTRA}, r"extra must be None without topk, not ExtraCache\("),
    ({"topk": 0}, "topk must be an integer from 1 to 65536, not 0"),
    ({"topk": 8, "causal": True}, "causal must be false with topk, whose lists are each query token's own, not True"),
    ({"topk": 8, "topk_lengths": [8]}, r"topk_lengths must be a list of 2, an integer for each request, not \(8,\)"),
    ({"topk": 8, "topk_lengths": [8, 9]}, r"topk_lengths\[1\] must be an integer from 0 to 8, not 9"),
    ({"topk": 8, "window": 9}, "window must be an integer from 0 to 8, not 9"),
    ({"topk": 8, "extra": {**_EXTRA, "lengths": [1]}}, "extra.lengths must be a list of 2, an integer "),
    ({"topk": 8, "extra": {**_EXTRA, "colour": 1}}, "extra: unknown key 'colour'; known keys are lengths, topk, "),
    ({"topk": 8, "extra": [1]}, r"extra must be a mapping of keys to values, not \(1,\)"),
])
def test_wrong_values(change, message):
    with pytest.raises(AmlaError, match=f"^bad.yaml: {message}"):
        Workload.from_dict({**_GOOD, **change}, source="bad.yaml")


@pytest.mark.parametrize("key", ["heads", "lengths"])
def test_missing_key(key):
    with pytest.raises(AmlaError, match=f"missing key '{key}'"):
        Workload.from_dict({k: v for k, v in _GOOD.items() if k != key})


@pytest.mark.parametrize("document", ["- 1\n- 2\n", "5", ""])
def test_not_a_mapping(tmp_path, document):
    path = tmp_path / "w.yaml"
    path.write_text(document)
    with pytest.raises(AmlaError, match=r"w\.yaml must be a mapping of keys to values"):
        Workload.load(path)


def test_unreadable(tmp_path):
    with pytest.raises(AmlaError, match="cannot read workload nowhere: No such file"):
        Workload.load("nowhere")
    path = tmp_path / "w.yaml"
    path.write_text("heads: [1\n")
    with pytest.raises(AmlaError, match=r"w\.yaml: not valid YAML: [^\n]*$"):
        Workload.load(path)


def test_all_shipped_workloads_load():
    paths = sorted((Path(__file__).parents[3] / "configs" / "workloads").glob("*.yaml"))
    assert {path.stem for path in paths} >= {"decode", "decode-mtp", "single", "tiny"}
    for path in paths:
        assert Workload.load(path.stem).name == path.stem


def test_npz(tmp_path):
    origin = Workload.from_dict({**_GOOD, "q_tokens": 2, "page_size": 16})
    save_npz(tmp_path / "a.npz", make_inputs(origin))
    (tmp_path / "w.yaml").write_text("inputs: a.npz\nhead_dim_v: 32\ncausal: true\n")
    load = Workload.load(tmp_path / "w.yaml")
    assert (load.heads, load.q_tokens, load.lengths, load.head_dim, load.page_size) == (4, 2, (3, 0), 48, 16)
    assert load.causal and load.scale == pytest.approx(48**-0.5)
    assert np.array_equal(make_inputs(load).block_table, make_inputs(origin).block_table)
    assert Workload.from_npz(tmp_path / "a.npz", head_dim_v=32).name == "a"


def test_npz_of_lists(tmp_path):
    """Any slot may be listed, so every request is as long as the cache."""
    origin = Workload.from_dict({**_GOOD, "head_dim": 512, "head_dim_v": 512, "cache": "fp8-584", "page_size": 16,
                                 "topk": 8, "topk_lengths": [8, 3], "sink": True, "extra": {**_EXTRA, "page_size": 2}})
    save_npz(tmp_path / "a.npz", make_inputs(origin))
    load = Workload.from_npz(tmp_path / "a.npz")
    assert (load.cache, load.topk, load.topk_lengths, load.sink) == ("fp8-584", 8, (8, 3), True)
    assert load.lengths == (2 * 16, 2 * 16) and load.extra == ExtraCache(lengths=(14, 14), topk=4, page_size=2)


def test_npz_settles_the_shape(tmp_path):
    save_npz(tmp_path / "a.npz", make_inputs(Workload.from_dict(_GOOD)))
    with pytest.raises(AmlaError, match=r"w: heads comes from the arrays of a\.npz and must not be given"):
        Workload.from_dict({"inputs": "a.npz", "heads": 4}, source="w", folder=tmp_path)


def test_npz_with_too_many_tokens(tmp_path):
    inputs = make_inputs(Workload.from_dict(_GOOD))
    tall = type(inputs)(q=np.repeat(inputs.q, 17, axis=1), kv_cache=inputs.kv_cache,
                        block_table=inputs.block_table,
                        cache_seqlens=inputs.cache_seqlens)
    save_npz(tmp_path / "a.npz", tall)
    with pytest.raises(AmlaError, match="at most 16 query tokens"):
        Workload.from_npz(tmp_path / "a.npz")
