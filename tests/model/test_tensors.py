"""Arrays and tensors: what comes in is viewed, what goes out is of the same kind."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from amla.model.fp.formats import BF16 as BF16_FORMAT
from amla.model.fp.formats import FP16 as FP16_FORMAT
from amla.model.tensors import as_array, int32_array, like, operand_words

BF16, E4M3 = ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn


class FakeTensor:
    """A torch tensor to NumPy's side of the bridge; its own dtypes are names."""

    NAMES = {np.dtype(BF16): "bf16", np.dtype(E4M3): "e4m3"}

    def __init__(self, array, device="cpu"):
        self.array, self.device = array, SimpleNamespace(type=device)
        self.dtype = self.NAMES.get(array.dtype, array.dtype)

    def detach(self):
        return self

    def view(self, dtype):
        by_name = {name: target for target, name in self.NAMES.items()}
        return FakeTensor(self.array.view(by_name.get(dtype, dtype)))

    def numpy(self):
        if isinstance(self.dtype, str):
            raise TypeError(f"Got unsupported ScalarType {self.dtype}")
        return self.array


@pytest.fixture
def torch(monkeypatch):
    fake = SimpleNamespace(
        Tensor=FakeTensor, bfloat16="bf16", float8_e4m3fn="e4m3", int16=np.int16, uint8=np.uint8, from_numpy=FakeTensor)
    monkeypatch.setitem(__import__("sys").modules, "torch", fake)
    return fake


ARRAYS = [np.arange(6, dtype=np.int32), np.linspace(0, 1, 5, dtype=np.float32), np.arange(9).astype(BF16),
          np.arange(256, dtype=np.uint8).view(E4M3)]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.dtype.name)
def test_tensors_are_viewed_both_ways(torch, array):
    tensor = FakeTensor(array)
    viewed = as_array("x", tensor)
    assert viewed.dtype == array.dtype and np.shares_memory(viewed, array)
    back = like(tensor, array)
    assert isinstance(back, FakeTensor) and back.dtype == tensor.dtype and np.shares_memory(back.array, array)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: array.dtype.name)
def test_arrays_stay_arrays(torch, array):
    assert as_array("x", array) is array and like(array, array) is array


def test_an_old_torch_without_float8(torch):
    del torch.float8_e4m3fn
    assert as_array("x", FakeTensor(ARRAYS[0])).tolist() == ARRAYS[0].tolist()


def test_what_numpy_converts_is_taken():
    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3, dtype=np.int32)

    assert int32_array("x", Wrapped(), 1).tolist() == [0, 1, 2]
    assert isinstance(like(Wrapped(), ARRAYS[0]), np.ndarray)


def test_only_the_cpu(torch):
    with pytest.raises(ValueError, match=r"^x must be on the CPU, not on "):
        as_array("x", FakeTensor(ARRAYS[0], device="cuda"))


def test_words():
    for dtype, format, wanted in ((BF16, BF16_FORMAT, [0x3F80, 0xC000]), (np.float16, FP16_FORMAT, [0x3C00, 0xC000])):
        words, found = operand_words("x", np.array([1, -2], dtype))
        assert words.tolist() == wanted and found == format
    with pytest.raises(TypeError, match=r"^x must be an array of bfloat16 or float16, not of float32$"):
        operand_words("x", np.zeros(3, np.float32))
    with pytest.raises(TypeError, match=r"^x must be an array of bfloat16, not of float16$"):
        operand_words("x", np.zeros(3, np.float16), (BF16_FORMAT,))


def test_int32():
    with pytest.raises(TypeError, match=r"^x must be an array of int32, not of int64$"):
        int32_array("x", np.zeros(3, np.int64), 1)
    with pytest.raises(ValueError, match=r"^x must have 2 dimensions, not shape \(3,\)$"):
        int32_array("x", np.zeros(3, np.int32), 2)
