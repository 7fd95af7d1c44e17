"""The core configuration: every shipped file loads, every rule has an error that names key, rule and value."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from amla.rtl.config import ConfigError, CoreConfig
from amla.rtl.errors import shown

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_load(path):
    config = CoreConfig.load(path.stem)
    assert config.name == path.stem
    assert CoreConfig.load(path) == config
    assert CoreConfig.from_dict(asdict(config)) == config


def test_derived_sizes(tiny):
    assert tiny.macs_per_cycle == 64
    assert (tiny.beat_elements, tiny.l1_banks) == (8, 2)
    assert tiny.l1_words * 4 * 4 * 2 == tiny.l1_bytes
    assert tiny.l0c_words * 4 * 4 * 4 == tiny.l0c_bytes
    assert tiny.state_words * tiny.m == tiny.state_rows == 4 * tiny.max_rows


@pytest.mark.parametrize(("key", "value"), [
    ("m", 3), ("n", 0), ("k", 2), ("lanes", 8), ("lanes", 3), ("axi_data_bytes", 24), ("axi_data_bytes", 4),
    ("axi_data_bytes", 256), ("axi_address_bits", 64), ("axi_in_flight_bytes", 4080),
    ("axi_in_flight_bytes", 65544), ("axi_in_flight_bytes", 1 << 19), ("acc_frac_bits", 10), ("comp_bits", 4),
    ("queue_depth", 1), ("kv_block", 30), ("kv_block", 8192), ("max_rows", 30), ("state_rows", 6), ("mode", "paper"),
    ("l1_bytes", 1 << 40), ("o_bytes", 1 << 40), ("state_rows", 1 << 40), ("max_rows", 1 << 40), ("name", "a/b"),
    ("name", ""), ("name", "nul\0"), ("l1_bytes", 100), ("l0a_bytes", 32), ("o_bytes", 33), ("out_bytes", 0),
    ("l0c_bytes", 192), ("o_bytes", 96),
])
def test_rules(tiny, key, value):
    with pytest.raises(ConfigError) as caught:
        replace(tiny, **{key: value})
    text = str(caught.value)
    assert text.startswith(f"{key} must be ") and text.endswith(f"not {shown(value)}"), text


@pytest.mark.parametrize("key", ["m", "k", "axi_data_bytes", "kv_block", "max_rows", "l1_bytes", "queue_depth"])
def test_numbers_too_long_to_print(tiny, key):
    with pytest.raises(ConfigError, match=f"^{key} must be .*not an integer of 20,001 bits$"):
        replace(tiny, **{key: 1 << 20_000})


@pytest.mark.parametrize(("key", "value"), [("m", 4.0), ("m", "4"), ("m", True), ("name", 3)])
def test_types(tiny, key, value):
    with pytest.raises(ConfigError, match=f"^{key} must be of type "):
        replace(tiny, **{key: value})


def test_integers_of_any_kind_are_taken(tiny):
    config = replace(tiny, m=np.int64(tiny.m), kv_block=np.uint16(tiny.kv_block))
    assert config == tiny and type(config.m) is type(config.kv_block) is int


@pytest.mark.parametrize(("text", "names"), [
    ("- 1\n", "mapping"), ("name: x\n", "missing key"), ("nam: x\n", "unknown key 'nam'"), ("a: [\n", "YAML"),
])
def test_files(tmp_path, text, names):
    path = tmp_path / "core.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=names) as caught:
        CoreConfig.load(path)
    assert "core.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file():
    with pytest.raises(ConfigError, match="cannot read configuration nowhere"):
        CoreConfig.load("nowhere")
