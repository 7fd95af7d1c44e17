"""Numeric parameters: defaults, limits, and agreement with the hardware's modes."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from amla.model.numerics import HARDWARE_MODES, MODES, P_FORMATS, Numerics, check_mode
from amla.rtl import config


def test_modes_and_formats_are_the_hardwares():
    assert config.MODES == HARDWARE_MODES and config.P_FORMATS == P_FORMATS
    assert [*MODES] == [*config.MODES, "paper", "log"]


def test_is_frozen_and_keyword_only():
    with pytest.raises(FrozenInstanceError):
        Numerics().k = 8
    with pytest.raises(TypeError):
        Numerics(512)


@pytest.mark.parametrize("name", ["acc_frac_bits", "comp_bits", "p_format"])
def test_defaults_are_the_configurations(name):
    assert getattr(Numerics(), name) == config.CoreConfig.__dataclass_fields__[name].default


@pytest.mark.parametrize(("values", "message"), [
    ({"kv_block": 0}, "kv_block must be from 1 to 4096, not 0"),
    ({"kv_block": 8192}, "kv_block must be from 1 to 4096, not 8192"),
    ({"kv_block": 24}, "kv_block must be a multiple of k = 16, not 24"),
    ({"k": 0}, "k must be from 1 to 256, not 0"),
    ({"acc_frac_bits": 23}, "acc_frac_bits must be from 24 to 40, not 23"),
    ({"comp_bits": 4}, "comp_bits must be from 0 to 3, not 4"),
    ({"p_format": "bf16"}, "p_format must be one of operand, u6.10, not 'bf16'"),
])
def test_rejects_values(values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Numerics(**values)


def test_integers_of_any_kind_are_taken():
    numerics = Numerics(kv_block=np.int64(64), k=np.uint8(8), acc_frac_bits=np.array(24), comp_bits=np.int8(3))
    assert numerics == Numerics(kv_block=64, k=8, acc_frac_bits=24, comp_bits=3)
    assert {type(value) for name, value in vars(numerics).items() if name != "p_format"} == {int}


@pytest.mark.parametrize("value", [True, 16.0, "16"])
def test_rejects_types(value):
    with pytest.raises(TypeError, match="k must be an int, not "):
        Numerics(k=value)


def test_rejects_a_format_that_is_no_name():
    with pytest.raises(TypeError, match="p_format must be a str, not None"):
        Numerics(p_format=None)


def test_check_mode_rejects_unknown_modes():
    with pytest.raises(ValueError, match="mode must be one of amla, mul, pow2, paper, log, not 'div'"):
        check_mode("div")
    with pytest.raises(ValueError, match="mode must be one of amla, mul, pow2, not 'paper'"):
        check_mode("paper", HARDWARE_MODES)
