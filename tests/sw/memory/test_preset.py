"""Memory presets: those that come along, and what a wrong one is told."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import IDEAL, Memory

pytestmark = pytest.mark.smoke

NAMES = sorted(path.stem for path in (Path(__file__).parents[3] / "configs" / "memory").glob("*.yaml"))


def test_the_presets():
    assert NAMES == ["far", "hbm", "ideal", "slow"]
    ideal, far, hbm, slow = (Memory.load(name) for name in ("ideal", "far", "hbm", "slow"))
    assert ideal == IDEAL == Memory(name="ideal", latency=20) and far == Memory(name="far", latency=500)
    assert hbm.bytes_per_cycle == round(1.6e12 / 24 / 1.8e9) == 37
    assert slow == replace(hbm, name="slow", bytes_per_cycle=hbm.bytes_per_cycle / 4)


@pytest.mark.parametrize("name", NAMES)
def test_dictionaries_there_and_back(name):
    memory = Memory.load(name)
    assert memory.name == name and Memory.from_dict(asdict(memory)) == memory


def test_the_bus_limits_too():
    hbm = Memory.load("hbm")
    assert [IDEAL.rate(beat) for beat in (16, 64)] == [16, 64] and [hbm.rate(beat) for beat in (16, 64)] == [16, 37]
    # Refresh takes a fifteenth: 345 bytes need the ten cycles of 370 at the full rate.
    assert [IDEAL.sustained(beat) for beat in (16, 64)] == [16, 64] and hbm.sustained(16) == 16
    assert hbm.sustained(64) == hbm.sustained() == 37 * (1 - 468 / 7020)
    assert IDEAL.cycles(640, 64) == 10 and hbm.cycles(345, 64) == 10 and hbm.cycles(346, 64) == 11


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("latency: 7\n")
    assert Memory.load(path) == Memory(name="mine", latency=7)
    path.write_text("name: other\nlatency: 7\nbytes_per_cycle: 2.5\n")
    assert Memory.load(path) == Memory(name="other", latency=7, bytes_per_cycle=2.5)


@pytest.mark.parametrize(("change", "message"), [
    ({"name": ""}, "name must be a string, not ''"),
    ({"latency": 0}, "latency must be an integer from 1 to 10000, not 0"),
    ({"latency": 20.0}, "latency must be an integer from 1 to 10000, not 20.0"),
    ({"latency": 22}, "latency must be more than activate = 22, not 22"),
    ({"bytes_per_cycle": 0}, "bytes_per_cycle must be a number from 0.125 to 1024, or absent, not 0"),
    ({"bytes_per_cycle": float("nan")}, "bytes_per_cycle must be a number from 0.125 to 1024, or absent, not nan"),
    ({"bytes_per_cycle": True}, "bytes_per_cycle must be a number from 0.125 to 1024, or absent, not True"),
    ({"channels": 0}, "channels must be an integer from 1 to 64, not 0"),
    ({"channels": True}, "channels must be an integer from 1 to 64, not True"),
    ({"interleave_bytes": 384}, "interleave_bytes must be a power of two, not 384"),
    ({"row_bytes": 1280 + 128}, "row_bytes must be a multiple of interleave_bytes = 256, not 1408"),
    ({"refresh": 7020}, "refresh must be less than refresh_interval = 7020, not 7020"),
    ({"refresh_interval": 0}, "refresh must be less than refresh_interval = 0, not 468"),
    ({"out_of_order": 1}, "out_of_order must be true or false, not 1"),
    ({"bytes_per_cycle": None}, "channels must be absent without bytes_per_cycle, not 4"),
], ids=lambda value: str(value)[:30])
def test_wrong_values_are_named(change, message):
    values = {**asdict(Memory.load("hbm")), **change}
    with pytest.raises(AmlaError) as caught:
        Memory.from_dict(values, source="mine.yaml")
    assert str(caught.value) == f"mine.yaml: {message}"


@pytest.mark.parametrize(("text", "message"), [
    ("latency: 7\nlatncy: 8\n", "mine.yaml: unknown key 'latncy'; known keys are name, latency"),
    ("name: x\n", "mine.yaml: missing key 'latency'"), ("7\n", "mine.yaml must be a mapping of keys to values, not 7"),
    ("[\n", "mine.yaml: not valid YAML"),
])
def test_wrong_files_are_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(AmlaError) as caught:
        Memory.load(path)
    assert str(caught.value).startswith(message)


def test_no_such_preset():
    with pytest.raises(AmlaError, match="cannot read memory nowhere: No such file"):
        Memory.load("nowhere")


def test_at_another_latency():
    there = IDEAL.at(700)
    assert there == replace(IDEAL, name="ideal-700", latency=700)
    with pytest.raises(AmlaError, match="latency must be an integer from 1 to 10000, not 0"):
        IDEAL.at(0)
