"""Every public array function of the model refuses a wrong array in one line that names the argument."""

import inspect
from importlib import import_module
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from amla.model.attention.online import online_softmax
from amla.model.attention.softmax import RowState
from amla.model.cache.kv_cache import KVCache
from amla.model.fp.fdpa import Profile
from amla.model.numerics import MODES, Numerics

BF16 = ml_dtypes.bfloat16
ROOT = Path(__file__).parents[2] / "model"


def words(*shape):
    return np.zeros(shape, np.uint32)


def narrow(*shape):
    return np.zeros(shape, np.uint16)


def counts(*shape):
    return np.zeros(shape, np.int64)


def int32(*shape):
    return np.zeros(shape, np.int32)


CACHE = KVCache.build("k_cache", np.zeros((2, 4, 1, 16), BF16), width=16, fp8=False)
TILE = {"scale_word": 0x3F800000, "first": True, "mode": "amla", "comp_bits": 2}
DECODE = {"block_table": int32(1, 2), "cache_seqlens": int32(1)}
Q = np.zeros((1, 1, 2, 16), BF16)
SINK = {"attn_sink": np.zeros(2, np.float32)}
PAGES = np.zeros((2, 4, 1, 16), BF16)
ROW = {"m": words(3), "c": words(3), "l": words(3), "L": words(3)}

#: A right call of each array function by module: its arrays first, then what else it takes.
CALLS = {
    "attention.accumulate": {
        "accumulate": ({"O": words(3, 4), "PV": words(3, 4), "offsets": words(3, 4)},
                       {"first": False, "mode": "amla", "comp_bits": 2}),
        "normalize": ({"O": words(3, 4), "R": words(3)}, {}),
        "reciprocal_and_lse": ({"sinks": words(3)}, {"state": RowState.empty(3), "mode": "amla"}),
    },
    "attention.attention": {
        "attend": ({"q": narrow(3, 16), "limits": counts(3), "sinks": words(3)},
                   {"keys": lambda start, stop: narrow(stop - start, 16), "length": 5, "head_dim_v": 8,
                    "scale_word": 0x3F800000, "mode": "amla", "numerics": Numerics()}),
    },
    "attention.key_groups": {
        "dense_groups": (DECODE, {"cache": CACHE, "batch": 1, "tokens": 1, "causal": False}),
        "sparse_groups": ({"indices": int32(1, 1, 3), "topk_length": int32(1)},
                          {"cache": CACHE, "batch": 1, "tokens": 1, "width": 16, "format": None}),
    },
    "attention.paper": {
        "bare_rescale": ({"O": words(3, 4), "offset": int32(3)}, {}),
        "clean": ({"O": words(3, 4)}, {}),
    },
    "attention.softmax": {
        "RowState": (ROW, {}),
        "row_maximum": ({"scores": words(3, 4), "valid": counts(3)}, {}),
        "softmax_tile": ({"scores": words(3, 4), "valid": counts(3), "rowmax": words(3)},
                         {**TILE, "state": RowState.empty(3)}),
    },
    "attention.sink": {
        "apply_sink": ({"out": words(3, 4), "lse": words(3), "sinks": words(3)}, {}),
        "sink_words": ({"attn_sink": np.zeros(2, np.float32)}, {"heads": 2}),
    },
    "attention.split_kv": {
        "attend_splits": ({"q": narrow(3, 16), "limits": counts(3), "sinks": words(3)},
                          {"keys": lambda start, stop: narrow(stop - start, 16), "splits": [(0, 2), (2, 5)],
                           "head_dim_v": 8, "scale_word": 0x3F800000, "mode": "amla", "numerics": Numerics()}),
        "end_factors": ({"lse": words(3), "sinks": words(3)}, {}),
        "merge_factors": ({"lses": words(2, 3)}, {}),
        "merge_splits": ({"outs": words(2, 3, 4), "lses": words(2, 3)}, {}),
        "weighted_sum": ({"outs": words(2, 3, 4), "factors": words(2, 3)}, {}),
    },
    "cache.fp8_cache": {
        "dequantize_fp8": ({"tokens": np.zeros((3, 656), np.uint8)}, {}),
        "quantize_fp8": ({"keys": np.zeros((3, 576), BF16)}, {}),
    },
    "cache.fp8_pages": {
        "dequantize_fp8_pages": ({"pages": np.zeros((3, 2, 584), np.uint8), "slots": np.arange(3)}, {}),
        "page_parts": ({"pages": np.zeros((3, 2, 584), np.uint8)}, {}),
        "quantize_fp8_pages": ({"keys": np.zeros((3, 2, 512), BF16)}, {}),
    },
    "decode": {"mla_decode": ({"q": Q, "kv_cache": PAGES, **DECODE, **SINK}, {"head_dim_v": 8})},
    "flash_mla": {
        "flash_mla_with_kvcache": (
            {"q": Q, "k_cache": PAGES, **DECODE, "tile_scheduler_metadata": int32(1, 8),
             "num_splits": np.arange(2, dtype=np.int32), **SINK}, {"head_dim_v": 8}),
    },
    "fp.fdpa": {
        "chain": ({"a": narrow(3, 16), "b": narrow(4, 16), "c": words(3, 4)}, {"profile": Profile()}),
        "fdpa_word": ({"a": narrow(4), "b": narrow(4)}, {"c": np.uint32(0), "acc_frac_bits": 30}),
        "fdpa_fp16_word": ({"a": narrow(4), "b": narrow(4)}, {"c": np.uint32(0), "acc_frac_bits": 30}),
        "matmul": ({"a": narrow(3, 16), "b": narrow(4, 16), "c": words(3, 4)}, {"k": 16, "acc_frac_bits": 30}),
    },
    "hopper.flash_mla": {
        "attend": ({"q": narrow(3, 576), "limits": counts(3)},
                   {"keys": lambda start, stop: narrow(stop - start, 576), "length": 5, "scale": np.float32(1),
                    "splits": [(0, 5)]}),
    },
    "reference": {"mla_reference": ({"q": Q, "kv_cache": PAGES, **DECODE, **SINK}, {"head_dim_v": 8})},
    "tile_scheduler": {
        "get_mla_metadata": ({"cache_seqlens": int32(2)}, {}),
        "read_splits": ({"metadata": int32(1, 8), "num_splits": np.arange(2, dtype=np.int32)}, {"lengths": [0]}),
    },
}

#: Operators on words of any shape: the dtypes of their arguments.
OPERATORS = {
    "fp.add": {"add": "II", "sub": "II"},
    "fp.convert": {"ceil": "I", "from_bf16": "H", "from_fp16": "H", "from_u6_10": "H", "rint": "I", "to_bf16": "I",
                   "to_fp16": "I", "to_int": "I", "to_u6_10": "I"},
    "fp.exp2": {"exp2": "I"},
    "fp.fixed": {"from_fixed": "L", "to_fixed": "I"},
    "fp.log2": {"log2": "I"},
    "fp.maximum": {"maximum": "II"},
    "fp.mul": {"mul": "II", "mul_bf16": "IH", "mul_fp16": "IH", "mul_u6_10": "IH"},
    "fp.recip": {"recip": "I"},
    "hopper.special_functions": {"ex2_hopper": "I", "lg2_hopper": "I", "rcp_hopper": "I"},
    "rescale": {"rescale": "Ii"},
}

#: Public names that take no array, one whose elements may be anything (a view, a comparison), or arrays of any rank.
OTHERS = {
    "attention.batch": {"DecodeBatch"},
    "attention.key_groups": {"QueryGroup"},
    "attention.log_domain": {"LogSoftmax"},
    "attention.online": {"OnlineSoftmax", "online_softmax"},
    "attention.paper": {"PaperSoftmax"},
    "attention.softmax": {"softmax_scale_word", "valid_columns"},
    "attention.split_kv": {"key_splits"},
    "cache.kv_cache": {"KVCache", "KeyList"},
    "checks": {"as_flag", "as_index", "as_integer", "check_array"},
    "fp.convert": {"narrow", "widen"},
    "fp.corners": {"bf16_corners", "fp16_corners", "fp32_corners", "random_pairs", "random_words",
                   "u6_10_corners"},
    "fp.exhaustive": {"Result", "check", "faithful_kernel", "narrow_kernel"},
    "fp.fdpa": {"Profile"},
    "fp.formats": {"Format", "bf16_to_words", "dtype_of", "to_floats", "to_words", "words_to_bf16"},
    "fp.operator": {"operator"},
    "fp.tables": {"Table"},
    "hopper.flash_mla": {"check_call", "scale_of", "to_bf16_words"},
    "hopper.recorded": {"load"},
    "hopper.scheduler": {"partition"},
    "hopper.tensor_core": {"tensor_core"},
    "numerics": {"Numerics", "check_mode"},
    "reference": {"error_metrics"},
    "tensors": {"as_array", "as_real", "int32_array", "like", "operand_words"},
    "tile_scheduler": {"FlashMLASchedMeta", "plan_splits"},
}

MODULES = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.rglob("*.py")
                 if path.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_no_public_function_is_left_out(name):
    module = import_module(f"amla.model.{name}")
    public = {item for item in module.__all__
              if inspect.isfunction(value := getattr(module, item)) or inspect.isclass(value)}
    assert public == {*CALLS.get(name, ()), *OPERATORS.get(name, ()), *OTHERS.get(name, ())}


def wrong(array):
    """What is no such array: another rank, another type, none at all."""
    yield array[None]
    yield array[0]
    yield np.zeros(array.shape, np.float64)
    yield array.astype(np.uint32 if array.dtype == np.uint16 else np.int16)
    yield [[0], [0, 0]]
    yield "0"


#: Caches whose axis of heads may be left out, by function.
HEADLESS = dict.fromkeys(("mla_decode", "mla_reference"), ("kv_cache", "extra_k_cache"))
#: The arrays of sparse attention.
LISTS = {"indices": int32(1, 1, 3), "topk_length": int32(1), "extra_k_cache": PAGES,
         "extra_indices_in_kvcache": int32(1, 1, 2), "extra_topk_length": int32(1), **SINK}
#: The calls above, and those that take lists in place of a table.
EVERY_CALL = [(module, name, *call) for module, calls in CALLS.items() for name, call in calls.items()] + [
    ("decode", "mla_decode", {"q": Q, "kv_cache": PAGES, **LISTS}, {"head_dim_v": 8}),
    ("reference", "mla_reference", {"q": Q, "kv_cache": PAGES, **LISTS}, {"head_dim_v": 8}),
    ("flash_mla", "flash_mla_with_kvcache", {"q": Q, "k_cache": PAGES, **LISTS},
     {"head_dim_v": 8, "block_table": None, "cache_seqlens": None, "tile_scheduler_metadata": None}),
]


@pytest.mark.parametrize(("module", "name", "arrays", "options"), EVERY_CALL)
def test_a_wrong_array_is_named(module, name, arrays, options):
    function = getattr(import_module(f"amla.model.{module}"), name)
    function(**arrays, **options)
    for argument, array in arrays.items():
        for value in wrong(array):
            if name == "quantize_fp8" and getattr(value, "dtype", None) == BF16:
                continue  # tokens of any shape
            if argument in HEADLESS.get(name, ()) and getattr(value, "dtype", None) == BF16 and value.ndim == 3:
                continue  # pages without an axis of heads
            with pytest.raises((TypeError, ValueError)) as caught:
                function(**{**arrays, argument: value}, **options)
            message = str(caught.value)
            named = "tile_scheduler_metadata" if argument == "metadata" else argument
            assert named in message.split(" must ")[0] and "\n" not in message, (argument, value, message)


@pytest.mark.parametrize("mode", MODES)
def test_an_online_softmax_names_a_wrong_array(mode):
    online = online_softmax(mode, 3, scale_word=0x3F800000, numerics=Numerics())
    right = {"scores": words(3, 4), "valid": counts(3)}
    for argument, array in right.items():
        for value in wrong(array):
            with pytest.raises((TypeError, ValueError), match=f"^{argument} must be an array "):
                online.probabilities(**{**right, argument: value}, first=True)
    online.probabilities(**right, first=True)
    for first in (True, False):
        for value in wrong(words(3, 8)):
            with pytest.raises((TypeError, ValueError), match=r"^PV must be an array "):
                online.accumulate(words(3, 8), value, first=first)
            with pytest.raises((TypeError, ValueError), match=r"^O must be an array "):
                online.accumulate(value, words(3, 8), first=first)
    for value in wrong(words(3, 8)):
        with pytest.raises((TypeError, ValueError), match=r"^O must be an array "):
            online.finish(value)
    for value in wrong(words(3)):
        with pytest.raises((TypeError, ValueError), match=r"^sinks must be an array "):
            online.finish(words(3, 8), value)


@pytest.mark.parametrize(("module", "name"),
                         [(module, name) for module, names in OPERATORS.items() for name in names])
def test_operators_refuse_other_words(module, name):
    function = getattr(import_module(f"amla.model.{module}"), name)
    arrays = [np.zeros((2, 4), code) for code in OPERATORS[module][name]]
    function(*arrays)
    names = list(inspect.signature(function).parameters)
    assert len(names) == len(arrays)
    for index, array in enumerate(arrays):
        others = [np.zeros(4, np.float32), np.zeros(4, np.uint8), np.zeros(4, np.int16), [0], 0, "0", None]
        for value in others:
            with pytest.raises(TypeError, match=f"^{names[index]} must be an array of {array.dtype}, not "):
                function(*arrays[:index], value, *arrays[index + 1:])
    if len(arrays) == 2:
        with pytest.raises(ValueError, match=r"^\w+ and \w+ must have shapes that go together, not "):
            function(arrays[0], np.zeros((3, 4), arrays[1].dtype))
    with pytest.raises(TypeError, match=f"^{name} must have {len(arrays)} arguments, not {len(arrays) + 1}$"):
        function(*arrays, arrays[0])
