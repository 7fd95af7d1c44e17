"""Machines: those that come along, and what a wrong file is told."""

from pathlib import Path

import pytest
import yaml
from amla.sw.errors import AmlaError
from amla.sw.machine.machine import AscendMachine, GpuMachine, Published, Route, load_machine

pytestmark = pytest.mark.smoke

FOLDER = Path(__file__).parents[3] / "configs" / "machines"


def test_the_machines():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == ["amla24", "ascend910", "h200", "h800"]
    ascend, h200, h800 = map(load_machine, ("ascend910", "h200", "h800"))
    assert isinstance(ascend, AscendMachine) and isinstance(h200, GpuMachine) and isinstance(h800, GpuMachine)
    # Figures that must agree with one another.
    cubes = ascend.dies * ascend.cores * ascend.fractal**3
    assert 2 * cubes * ascend.clock_hz == pytest.approx(ascend.peak_flops, 1e-4)
    for route, gibibytes in (("gm_l1", 135), ("gm_ub", 100.9), ("ub_gm", 188.46), ("l0c_gm", 70)):
        assert getattr(ascend, route).bytes_per_cycle == pytest.approx(gibibytes * 2**30 / 1.85e9, abs=0.1)
    product = 15 * 5 * (128 + 256) * 7680 * 2 / (0.984 * 3.168e-3)
    assert ascend.l2_read_bytes_per_second == pytest.approx(24 * product, 2e-3)
    assert ascend.l2_write_bytes_per_second == pytest.approx(24 * 86 * 1.85e9, 1e-3)
    assert h200.clock_hz == pytest.approx(1.5e9 * 803 / 675, 1e-3)
    assert h200.memory_share == h800.memory_share == pytest.approx(3000 / 3350, abs=1e-3)


def test_published_figures():
    one = Published(heads=2, batch=3, keys=5, tflops=2.0, what="x", source="y")
    assert one.lengths == (5, 5, 5) and one.seconds(4e12) == 2
    assert Published(heads=2, lengths=(5,), us=7.0, what="x", source="y").seconds(4e12) == 7e-6


def values(name="ascend910", **changes):
    return {**yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")), **changes}


@pytest.mark.parametrize(("name", "change", "message"), [
    ("h200", {"kind": "tpu"}, "kind must be one of amla, ascend, gpu, not 'tpu'"),
    ("h200", {"kind": None}, "kind must be one of amla, ascend, gpu, not None"),
    ("h200", {"clock": 1}, "unknown key 'clock'; known keys are name, about"),
    ("h200", {"clock_hz": "fast"}, "clock_hz must be a number from 1e+06 to 1e+11, not 'fast'"),
    ("h200", {"clock_hz": float("nan")}, "clock_hz must be a number from 1e+06 to 1e+11, not nan"),
    ("h200", {"memory_bytes_per_second": 0}, "memory_bytes_per_second must be a number from 1000 to 1e+18, not 0"),
    ("h200", {"tensor_share": 1.5}, "tensor_share must be a number from 0.01 to 1, not 1.5"),
    ("h200", {"multiprocessors": 1.5}, "multiprocessors must be an integer from 1 to 65536, not 1.5"),
    ("h200", {"about": ""}, "about must be a string, not ''"),
    ("h200", {"published": 3}, "published must be a list, not 3"),
    ("h200", {"published": [{"heads": 128, "us": 1, "what": "x", "source": "y"}]},
     "published[0]: lengths must be given, or else batch and keys, not None"),
    ("h200", {"published": [{"heads": 128, "lengths": [1], "what": "x", "source": "y"}]},
     "published[0]: us must be given, or else tflops, not None"),
    ("h200", {"published": [{"lengths": [1], "us": 1, "what": "x", "source": "y"}]},
     "published[0]: missing key 'heads'"),
    ("h200", {"published": [{"heads": 1, "lengths": [1], "us": "1", "what": "x", "source": "y"}]},
     "published[0]: us must be a number from 1e-09 to 1e+12, not '1'"),
    ("h200", {"published": [{"heads": 1, "lengths": [1], "us": 1, "what": 1, "source": "y"}]},
     "published[0]: what must be a string, not 1"),
    ("ascend910", {"cores": 0}, "cores must be an integer from 1 to 1024, not 0"),
    ("ascend910", {"gm_l1": 78}, "gm_l1 must be a mapping of keys to values, not 78"),
    ("ascend910", {"gm_l1": {"bytes_per_cycle": 0}},
     "gm_l1: bytes_per_cycle must be a number from 0.125 to 1e+09, not 0"),
    ("ascend910", {"gm_l1": {"start": 1}}, "gm_l1: missing key 'bytes_per_cycle'"),
    ("ascend910", {"vector": {"add": [1, 1]}}, "vector must be a mapping of add, cast, div"),
    ("ascend910", {"vector": {**values()["vector"], "exp": [1]}},
     "vector: exp must be two numbers, [start, cycles a repeat], not [1]"),
    ("ascend910", {"vector": {**values()["vector"], "exp": [1, -1]}},
     "vector: exp must be a number from 0 to 1e+06, not -1"),
], ids=lambda value: str(value)[:30])
def test_wrong_values_are_named(tmp_path, name, change, message):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values(name, **change)), encoding="utf-8")
    with pytest.raises(AmlaError) as caught:
        load_machine(path)
    assert str(caught.value).startswith(f"mine.yaml: {message}")


@pytest.mark.parametrize(("text", "message"), [
    ("7\n", "mine.yaml must be a mapping of keys to values, not 7"), ("[\n", "mine.yaml: not valid YAML"),
    ("kind: gpu\n", "mine.yaml: missing key 'about'"),
])
def test_wrong_files_are_named(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AmlaError) as caught:
        load_machine(path)
    assert str(caught.value).startswith(message)


def test_a_route_of_ones_own():
    assert Route(bytes_per_cycle=2) == Route(bytes_per_cycle=2, start=0.0)
