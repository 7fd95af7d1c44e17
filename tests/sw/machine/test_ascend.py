"""The Ascend's model: what a tile costs, its limits, that every cost costs, and the paper's best."""

from dataclasses import fields, replace

import pytest
from amla.sw.machine.ascend import Tile, estimate, program, tiles_of
from amla.sw.machine.machine import UNLIMITED, Route, load_machine
from amla.sw.machine.study import workload

MACHINE = load_machine("ascend910")
FAST = Route(bytes_per_cycle=1e9)
#: Nothing costs anything but the cube's fractals.
FREE = replace(
    MACHINE, gm_l1=FAST, gm_ub=FAST, ub_gm=FAST, l0c_gm=FAST, l1_l0a=FAST, l1_l0b=FAST, mad_start=0, sync_cycles=0,
    launch_cycles=0, dispatch_cycles=0, bubble_cycles=0, vector_barrier=0, memory_bytes_per_second=UNLIMITED,
    l2_read_bytes_per_second=UNLIMITED, l2_write_bytes_per_second=UNLIMITED,
    vector={name: (0, 0) for name in MACHINE.vector})
SMALL = {"batch": 48, "keys": 2048}


def utilisation(machine, ahead=1, **shape):
    found = estimate(workload(**{**SMALL, **shape}), machine, ahead=ahead)
    return found.parts["cube at its peak"] / found.seconds


def test_without_costs_the_cube_is_the_bound():
    assert utilisation(FREE) == pytest.approx(1, abs=1e-3)
    # 128 rows that are 64: the cube's blocks are half full, but a fractal is 16 rows.
    assert utilisation(FREE, heads=32, tokens=1) == pytest.approx(1, abs=1e-3)
    assert utilisation(FREE, heads=24, tokens=1) == pytest.approx(0.75, abs=1e-3)


def test_bytes_and_cycles_of_a_tile():
    one, two = (program(MACHINE, [Tile(256, 512, at == 0, False) for at in range(count)]) for count in (2, 3))

    def more(of, pipe):
        return getattr(two, of)(pipe) - getattr(one, of)(pipe)

    # Q once, K in 14 blocks; P once, V in 14 blocks.
    assert more("moved", "MTE2") == 2 * (4 * 128 * 288 + 14 * 128 * 288 + 4 * 128 * 256 + 14 * 128 * 256)
    assert more("moved", "FIXPIPE") == 4 * (256 * 512 + 256 * 512)  # S, O
    assert more("moved", "vector MTE2") == 4 * 256 * 512  # S
    assert more("moved", "vector MTE3") == 2 * 256 * 512 + 4 * 256 * 512  # P, row offsets onto O
    # 48 matrix instructions of 128 x 128 x 96 and 32 of 128 x 128 x 128.
    assert more("busy", "cube") == 48 * (6 + 8 * 8 * 6) + 32 * (6 + 8 * 8 * 8) + MACHINE.sync_cycles
    assert more("busy", "MTE1") == 48 * 2 * 128 * 96 * (1 / 256 + 1 / 128) + 32 * 2 * 128 * 128 * (1 / 256 + 1 / 128)


def test_a_first_tile_adds_nothing_and_a_last_one_normalises():
    first, later = (program(MACHINE, [Tile(256, 512, first, False)]) if first else
                    program(MACHINE, [Tile(256, 512, True, False), Tile(256, 512, False, False)])
                    for first in (True, False))
    assert first.moved("vector MTE3") == 2 * 256 * 512
    assert later.moved("vector MTE3") == 2 * 2 * 256 * 512 + 4 * 256 * 512
    last = program(MACHINE, [Tile(256, 512, True, True)])
    assert last.moved("vector MTE2") - first.moved("vector MTE2") == 4 * 256 * 512
    assert last.moved("vector MTE3") - first.moved("vector MTE3") == 2 * 256 * 512


def test_work_is_dealt_out_whole():
    load = workload(batch=3, keys=1200)  # three tiles each
    for cores in (1, 2, 4, 9, 48):
        dealt, cuts = tiles_of(load, cores)
        tiles = [tile for mine in dealt for tile in mine]
        assert sum(tile.keys * tile.rows for tile in tiles) == 3 * 1200 * 256 and len(dealt) <= cores
        assert sum(tile.first for tile in tiles) == sum(tile.last for tile in tiles) == 3 + cuts
    assert tiles_of(load, 3)[1] == 0 and tiles_of(load, 9)[1] == 6


@pytest.mark.parametrize("key", [one.name for one in fields(MACHINE) if one.type is Route])
def test_a_slower_route_takes_longer(key):
    slow = replace(MACHINE, **{key: Route(bytes_per_cycle=getattr(MACHINE, key).bytes_per_cycle / 20)})
    assert utilisation(slow) < 0.9 * utilisation(MACHINE)
    late = replace(MACHINE, **{key: replace(getattr(MACHINE, key), start=2000.0)})
    assert utilisation(late) < utilisation(MACHINE)


@pytest.mark.parametrize(("key", "factor"), [
    ("mad_start", 20), ("sync_cycles", 10), ("launch_cycles", 2), ("dispatch_cycles", 3), ("bubble_cycles", 9),
    ("vector_barrier", 40), ("memory_bytes_per_second", 0.2), ("l2_read_bytes_per_second", 0.5),
    ("l2_write_bytes_per_second", 0.3)])
def test_every_cost_costs(key, factor):
    assert utilisation(replace(MACHINE, **{key: getattr(MACHINE, key) * factor})) < utilisation(MACHINE)


def test_the_slowest_route_is_the_bound():
    slow = replace(FREE, l0c_gm=Route(bytes_per_cycle=10))
    # S and O of a tile, 4 bytes a word, through FIXPIPE: 104,858 cycles where the cube takes 34,816.
    assert utilisation(slow) == pytest.approx(34816 / (2 * 256 * 512 * 4 / 10), rel=0.02)
    shared = replace(FREE, l2_read_bytes_per_second=1e12)
    reads = 2 * 14 * 128 * (288 + 256) + 2 * 4 * 128 * (288 + 256) + 4 * 256 * 512
    assert utilisation(shared) == pytest.approx(34816 / (24 * reads / (1e12 / 1.8e9)), rel=0.1)


def test_preload_is_what_keeps_the_cube_busy():
    assert utilisation(MACHINE, ahead=0) < 0.8 * utilisation(MACHINE)
    assert utilisation(MACHINE, ahead=2) == pytest.approx(utilisation(MACHINE), rel=0.05)


def test_parts_sum_to_the_time_and_long_requests_are_extended():
    found = estimate(workload(batch=4, keys=1024), MACHINE)
    assert sum(found.parts.values()) == found.seconds and found.cores == 8 and found.bound_by == "compute"
    # 128 requests of 32,768 keys: 171 tiles a core, of which 128 are simulated.
    assert utilisation(FREE, batch=128, keys=32768) == pytest.approx(128 * 64 / 48 / 171, rel=2e-3)


def test_the_papers_best():
    assert utilisation(MACHINE, batch=96, keys=16384) == pytest.approx(0.868, abs=0.02)
