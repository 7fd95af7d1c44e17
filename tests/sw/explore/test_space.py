"""Spaces: all combinations once, broken rules as reasons, and one line for whatever is wrong with the file."""

from dataclasses import replace

import pytest
from amla.rtl.config import CoreConfig
from amla.sw.errors import AmlaError
from amla.sw.explore import space as module
from amla.sw.explore.space import Space
from amla.sw.machine.machine import load_machine
from amla.sw.memory.preset import Memory
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke

PLAIN = "cores: [tiny]\nmemories: [hbm]\nworkloads: [tiny]\n"


def test_all_combinations(space_file):
    space = Space.load(space_file())
    assert space.axes == ("core", "memory", "machine", "workload", "preload", "core.lanes", "core.l1_bytes",
                          "memory.bytes_per_cycle", "workload.lengths")
    assert len(space.points) == 3 * 3 * 3 * 2
    point = space.points[-1]
    assert point.axes == {"core": "tiny", "memory": "hbm", "machine": None, "workload": "tiny", "preload": 1,
                          "core.lanes": 2, "core.l1_bytes": 8192, "memory.bytes_per_cycle": 8,
                          "workload.lengths": [96]}
    assert point.core == replace(CoreConfig.load("tiny"), l1_bytes=8192)
    assert point.memory == replace(Memory.load("hbm"), bytes_per_cycle=8)
    assert point.workload == replace(Workload.load("tiny"), lengths=(96,))


def test_names_alone(space_file):
    point, = Space.load(space_file(PLAIN)).points
    assert (point.core, point.memory, point.preload) == (CoreConfig.load("tiny"), Memory.load("hbm"), 1)


def test_machines(space_file):
    """Every machine at every workload, beside cores or alone; broken rules are reasons here too."""
    machines = "machines: [h800, {machine: h200, launch_us: [3, -1]}]\n"
    both = Space.load(space_file(PLAIN + machines)).points
    alone = Space.load(space_file("workloads: [tiny]\n" + machines)).points
    assert [point.machine and point.machine.name for point in both] == [None, "h800", "h200", None]
    assert [point.axes["machine.launch_us"] for point in alone] == [load_machine("h800").launch_us, 3, -1]
    assert [point.reason for point in alone[:2]] == [None, None] and "launch_us must be" in alone[2].reason
    assert alone[1].machine == replace(load_machine("h200"), launch_us=3) and alone[1].preload is None


def test_a_point_counts_once(space_file):
    text = PLAIN.replace("[tiny]\nm", "[tiny, {core: tiny, lanes: [2, 4]}]\nm")
    assert [point.axes["core.lanes"] for point in Space.load(space_file(text)).points] == [2, 4]


def test_a_broken_rule_is_a_reason(space_file):
    broken = [point for point in Space.load(space_file()).points if point.reason]
    assert {point.reason for point in broken} == {"tiny.yaml: lanes must be a power of two up to 128, not 3"}
    assert {point.axes["core.lanes"] for point in broken} == {3} and len(broken) == 18
    assert all(point.core is None for point in broken)


def test_keys_tell_points_and_versions_apart(space_file):
    points = Space.load(space_file()).points
    assert len({point.key(version) for point in points for version in ("1", "2")}) == 2 * len(points)
    again = Space.load(space_file(name="other.yaml")).points
    assert [point.key("1") for point in points] == [point.key("1") for point in again]


@pytest.mark.parametrize("name", ["decode", "tiny"])
def test_shipped(name):
    space = Space.load(name)
    assert all(point.reason is None for point in space.points)
    assert len(space.points) == {"decode": 2016, "tiny": 216}[name]


@pytest.mark.parametrize(("text", "message"), [
    ("- 1", "a space must be a mapping of keys to values, not [1]"),
    (PLAIN + "machine: [x]", "unknown key 'machine'; known keys are cores, memories, machines, workloads, preload"),
    ("cores: [tiny]", "memories must be a list of at least one entry, not None"),
    ("cores: [tiny]\nworkloads: [tiny]\nmachines: [h200]", "memories must be a list of at least one entry, not None"),
    ("machines: [h200]", "workloads must be a list of at least one entry, not None"),
    ("machines: [{machine: h200, launch_us: x}]\nworkloads: [tiny]",
     "machines[0].launch_us must be float, or a list of such, not 'x'"),
    (PLAIN.replace("[hbm]", "hbm"), "memories must be a list of at least one entry, not 'hbm'"),
    (PLAIN + "preload: 3", "preload must be 0, 1, 2 or a list of them, not 3"),
    (PLAIN + "preload: []", "preload must be 0, 1, 2 or a list of them, not []"),
    (PLAIN + "preload: [true]", "preload must be 0, 1, 2 or a list of them, not [True]"),
    (PLAIN.replace("[tiny]", "[7]", 1), "cores[0] must be a name or a mapping with the key 'core', not 7"),
    (PLAIN.replace("[hbm]", "[hbm, {latency: 3}]"),
     "memories[1].memory must be a name or the path of a YAML file, not None"),
    (PLAIN.replace("[tiny]", "[nix]", 1), "cannot read configuration nix: No such file or directory"),
    (PLAIN.replace("[hbm]", "[{memory: hbm, latncy: 3}]"),
     "memories[0]: unknown key 'latncy'; known keys are memory, latency, bytes_per_cycle"),
    (PLAIN.replace("[tiny]", "[{core: tiny, name: x}]", 1), "cores[0]: unknown key 'name'; known keys are core, m, n"),
    (PLAIN.replace("[tiny]", "[{core: tiny, lanes: four}]", 1),
     "cores[0].lanes must be int, or a list of such, not 'four'"),
    (PLAIN.replace("[tiny]", "[{core: tiny, lanes: [2, true]}]", 1),
     "cores[0].lanes must be int, or a list of such, not True"),
    (PLAIN.replace("[tiny]", "[{core: tiny, lanes: []}]", 1),
     "cores[0].lanes must be a list of at least one value, not []"),
    (PLAIN.replace("workloads: [tiny]", "workloads: [{workload: tiny, lengths: 64}]"),
     "workloads[0].lengths must be a list of integers, or a list of such, not 64"),
    (PLAIN.replace("workloads: [tiny]", "workloads: [{workload: tiny, lengths: [[64], [a]]}]"),
     "workloads[0].lengths must be a list of integers, or a list of such, not ['a']"),
    (PLAIN.replace("[hbm]", "[{memory: hbm, bytes_per_cycle: fast}]"),
     "memories[0].bytes_per_cycle must be float or null, or a list of such, not 'fast'"),
])
def test_one_line_for_what_is_wrong(space_file, text, message):
    with pytest.raises(AmlaError) as error:
        Space.load(space_file(text))
    assert str(error.value).startswith(f"some.yaml: {message}")


def test_a_space_too_large(space_file, monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 53)
    with pytest.raises(AmlaError, match="a space must be of at most 53 points, not 54"):
        Space.load(space_file())
