"""Plans: pieces cover, slots do not overlap, residency and the errors of small buffers."""

from dataclasses import replace
from itertools import pairwise

import pytest
from amla.rtl.isa import SEMAPHORE_MAX
from amla.sw.compiler.plan import Piece, Share, split
from amla.sw.compiler.tiling import plan_tiles
from amla.sw.errors import AmlaError
from amla.sw.memory.preset import IDEAL, Memory
from amla.sw.workload.workload import Workload


@pytest.mark.parametrize(("total", "largest", "multiple", "sizes"), [
    (10, 4, 1, [4, 4, 2]), (9, 8, 1, [5, 4]), (8, 8, 1, [8]), (36, 10, 2, [10, 10, 10, 6]), (3, 4, 2, [3]),
])
def test_split(total, largest, multiple, sizes):
    pieces = split(total, largest, multiple=multiple)
    assert [piece.size for piece in pieces] == sizes
    assert [piece.start for piece in pieces] == [sum(sizes[:i]) for i in range(len(sizes))]


def _covers(pieces, total):
    return [p.start for p in pieces] == [0, *(p.stop for p in pieces)][:-1] and pieces[-1].stop == total


def _check(plan):
    config, load = plan.config, plan.workload
    assert _covers(plan.panels, load.head_dim // config.k) and _covers(plan.score_slabs,
                                                                       load.head_dim // config.k)
    assert _covers(plan.value_tiles, load.head_dim_v) and _covers(plan.units, len(plan.value_tiles))
    # The last item ends in ever narrower sub-tiles of whole beats, with a token of DRAINED for each at hand.
    parts = plan.parts(final=True)
    assert _covers([tile for part in parts for tile in part.tiles], load.head_dim_v)
    assert all(tile.size % config.beat_elements == 0 for tile in plan.tail)
    assert [tile.size for tile in plan.tail] == sorted((tile.size for tile in plan.tail), reverse=True)
    assert [part.closes for part in parts].count(True) == [part.opens for part in parts].count(True) == len(plan.units)
    assert len(parts) + len(plan.units) * (plan.resident_tiles - 1) <= SEMAPHORE_MAX or len(parts) == len(plan.units)
    assert [tile.row for tile in plan.tiles] == [sum(t.groups for t in plan.tiles[:i]) * config.m
                                                 for i in range(len(plan.tiles))]
    assert sum(tile.rows for tile in plan.tiles) == load.rows
    for tile in plan.tiles:
        assert tile.rows <= tile.groups * config.m <= config.max_rows
        assert (tile.token, tile.head) == divmod(tile.row, load.heads)
    # No slab and no value sub-tile crosses a panel.
    for piece in [*plan.score_slabs,
                  *(Piece(t.start // config.k, t.size // config.k) for t in plan.value_tiles)]:
        assert sum(panel.start < piece.stop and piece.start < panel.stop for panel in plan.panels) == 1
    sizes = {"L1": config.l1_words, "L0A": config.l0a_words, "L0B": config.l0b_words, "L0C": config.l0c_words,
             "S": config.s_words, "O": config.o_words, "OUT": config.out_words}
    by_buffer = {}
    for region in plan.regions.values():
        assert region.slots >= 1 and region.stop <= sizes.get(region.buffer, config.state_words)
        by_buffer.setdefault(region.buffer, []).append((region.base, region.stop))
    for spans in by_buffer.values():
        spans.sort()
        assert all(a[1] <= b[0] for a, b in pairwise(spans))


@pytest.mark.parametrize("preload", [0, 1, 2])
@pytest.mark.parametrize("name", ["decode", "decode-mtp", "single"])
def test_main_workloads_on_small(small, name, preload):
    plan = plan_tiles(Workload.load(name), small, preload=preload)
    _check(plan)
    tiles = 2 if name == "decode-mtp" else 1  # of 64 rows
    assert len(plan.tiles) == tiles
    assert plan.traffic == ("KV read once" if tiles == 1 else "KV read 2 times: O holds 1 of 2 row tiles")
    assert plan.regions["P"].slots == plan.regions["OFFSETS"].slots == preload + 1
    assert plan.regions["KV"].slots >= preload + 2 and plan.pressed == (not preload)
    # Sub-tiles cover the cube's pipeline.
    groups = plan.tiles[0].groups
    assert groups * (plan.kv_block // small.n) >= 16 and groups * (plan.value_tiles[0].size // small.n) >= 16


@pytest.mark.parametrize("seed", range(60))
def test_random_plans(random_case, seed):
    workload, config, preload = random_case(seed)
    _check(plan_tiles(workload, config, preload=preload))


def test_row_tiles_share_blocks_when_o_holds_them(tiny):
    load = Workload(name="x", heads=24, q_tokens=2, head_dim=24, head_dim_v=16, lengths=(64,))
    plan = plan_tiles(load, tiny)
    assert len(plan.tiles) == 2 and plan.resident_tiles == 2 and plan.traffic == "KV read once"
    narrow = plan_tiles(load, replace(tiny, o_bytes=tiny.o_bytes // 4))
    assert narrow.resident_tiles == 1 and narrow.traffic == "KV read 2 times: O holds 1 of 2 row tiles"


def test_a_smaller_l1_takes_smaller_blocks_and_says_so(tiny, tiny_workload):
    sizes = []
    for l1_bytes in (65536, 8192, 4096):
        plan = plan_tiles(tiny_workload, replace(tiny, l1_bytes=l1_bytes))
        _check(plan)
        assert plan.why.startswith(f"KV blocks of {plan.kv_block} keys (at most 32): cube ")
        assert plan.traffic == "KV read once"
        sizes.append(plan.kv_block * plan.tiles[0].groups)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


def test_a_slower_memory_is_named_and_gets_its_share_of_l1(small):
    load, core = Workload.load("single"), replace(small, l1_bytes=294912)
    near, far = (plan_tiles(load, core, memory=replace(IDEAL, latency=latency)) for latency in (20, 10_000))
    assert "bound by cube" in near.why and "bound by memory latency" in far.why
    ahead = [plan.kv_block * (plan.regions["KV"].slots - 3) for plan in (near, far)]
    assert ahead[0] <= ahead[1]
    assert "bound by memory;" in plan_tiles(load, core, memory=Memory.load("slow")).why


@pytest.mark.parametrize(("change", "message"), [
    ({"l1_bytes": 512},
     r"l1_bytes of tiny is too small for this workload at preload 1: a row tile of 4 rows needs "
                        r"(\d+) bytes, (\d+) more than its 512"),
    ({"o_bytes": 128}, r"o_bytes of tiny is too small .* needs 512 bytes, 384 more than its 128"),
    ({"s_bytes": 32, "lanes": 1}, r"s_bytes of tiny is too small .* needs 64 bytes, 32 more than its 32"),
    ({"l0c_bytes": 128}, r"l0c_bytes of tiny is too small .* needs 320 bytes, 192 more than its 128"),
    ({"l0a_bytes": 64}, r"l0a_bytes of tiny is too small .* needs 128 bytes, 64 more than its 64"),
    ({"l0b_bytes": 64}, r"l0b_bytes of tiny is too small .* needs 128 bytes, 64 more than its 64"),
    ({"state_rows": 4}, r"row state \(state_rows, counted in rows\) of tiny is too small .* needs 8 bytes"),
])
def test_too_small_buffers(tiny, tiny_workload, change, message):
    with pytest.raises(AmlaError, match=message) as caught:
        plan_tiles(tiny_workload, replace(tiny, **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("block", [4, 12, 32])
def test_a_kv_block_that_is_asked_for(tiny, tiny_workload, block):
    plan = plan_tiles(tiny_workload, tiny, kv_block=block)
    _check(plan)
    assert plan.kv_block == block != plan_tiles(tiny_workload, tiny, kv_block=8).kv_block


def test_a_partial_share_fits_where_the_whole_does(tiny):
    """Its value tiles, and so its panels, are narrower beside rotary columns as wide as before: one panel then."""
    load = Workload(name="wide", heads=4, lengths=(4,), cache="fp8-584", head_dim=512, head_dim_v=128, page_size=24)
    whole = plan_tiles(load, tiny, preload=0, kv_block=4)
    part = plan_tiles(load, tiny, preload=0, kv_block=4, share=Share(0, Piece(0, 4), Piece(0, 4), 8))
    assert len(whole.panels) > 1 and part.panels == (Piece(0, 512 // tiny.k),)
    _check(part)


def test_a_kv_block_longer_than_every_request(tiny):
    load = Workload(name="short", heads=4, head_dim=48, head_dim_v=32, lengths=(5,))
    plan = plan_tiles(load, tiny, kv_block=32)
    _check(plan)
    assert plan.kv_block == 32 and plan_tiles(load, tiny).kv_block <= 8


@pytest.mark.parametrize("block", [0, 6, 36, -4, 8.0, True, "8"])
def test_bad_kv_blocks(tiny, tiny_workload, block):
    message = f"^kv_block must be a multiple of k = 4, from 4 to the 32 of tiny, not {block!r}$"
    with pytest.raises(AmlaError, match=message):
        plan_tiles(tiny_workload, tiny, kv_block=block)


def test_a_kv_block_that_does_not_fit(tiny, tiny_workload):
    core = replace(tiny, s_bytes=512)  # 16 bytes a key and row group of 4
    with pytest.raises(AmlaError, match=r"^s_bytes of tiny is too small .* preload 1: a row tile of 4 rows and a "
                                        r"KV block of 32 keys needs 512 bytes, 256 more than its 256$"):
        plan_tiles(tiny_workload, replace(core, s_bytes=256), kv_block=32)
    assert plan_tiles(tiny_workload, core, kv_block=32).kv_block == 32
    assert plan_tiles(tiny_workload, replace(core, s_bytes=256)).kv_block < 32


def test_the_named_size_is_enough(tiny, tiny_workload):
    """Growing the buffer by the missing bytes that the error names makes the workload fit."""
    config = replace(tiny, l1_bytes=512)
    for _ in range(4):
        try:
            plan_tiles(tiny_workload, config)
            break
        except AmlaError as error:
            needed = int(str(error).split(" needs ")[1].split()[0])
            assert needed > config.l1_bytes
            config = replace(config, l1_bytes=-(-needed // 64) * 64)
    else:
        pytest.fail("the named size is not enough")


def test_dimensions_must_be_whole_beats(tiny):
    with pytest.raises(AmlaError,
                       match="head_dim must be a multiple of 8, the elements of a beat of tiny, not 50"):
        plan_tiles(Workload(name="x", heads=1, lengths=(1,), head_dim=50, head_dim_v=32), tiny)


def test_preload_depths(tiny, tiny_workload):
    with pytest.raises(AmlaError, match="preload must be one of 0, 1, 2, not 3"):
        plan_tiles(tiny_workload, tiny, preload=3)
