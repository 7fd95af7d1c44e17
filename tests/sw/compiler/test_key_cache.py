"""Where keys lie in GM, and the runs of them that LOAD and GATHER bring."""

import numpy as np
import pytest
from amla.model.cache.fp8_pages import page_parts
from amla.rtl.isa import MOST_ROWS, Opcode
from amla.sw.compiler.key_cache import KeyCache, Listed, Paged, bytes_of_row
from amla.sw.compiler.plan import Piece
from amla.sw.workload.inputs import KeySequence
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke

BASE = 0x4000
WIDTHS = {None: 24, "fp8-656": 576, "fp8-584": 512}
KEY_BYTES = {None: 48, "fp8-656": 656, "fp8-584": 584}


def _cache(kind, page_size):
    head_dim = WIDTHS[kind]
    load = Workload(name="x", heads=1, lengths=(1,), head_dim=head_dim, head_dim_v=8, cache=kind, page_size=page_size)
    return KeyCache.of(load, BASE)


def _sequence(slots, extra=()):
    return KeySequence(request=0, token=0, rows=1, slots=np.array(slots, np.int64), extra=np.array(extra, np.int64))


def test_bytes_of_row():
    assert bytes_of_row(frozenset(), 24) == 48
    assert bytes_of_row(frozenset({"fp8_656", "a_side"}), 576) == 656
    assert bytes_of_row(frozenset({"fp8_584"}), 512) == 584


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("page_size", [1, 3, 16, 72])
def test_every_slot_is_found_in_the_image(kind, page_size):
    """Bytes at the address of a slot, and at that of its scales, are those of its key."""
    cache = _cache(kind, page_size)
    rng = np.random.default_rng(page_size)
    pages = rng.integers(0, 256, (3, page_size, 1, KEY_BYTES[kind]), np.uint8)
    image = cache.image(pages)
    assert len(image) == 3 * cache.page_bytes and cache.key_bytes == KEY_BYTES[kind]
    for slot in range(3 * page_size):
        address, pitch = cache.locate(slot)
        page, offset = divmod(slot, page_size)
        found = image[address - BASE:][:cache.row_bytes]
        if kind == "fp8-584":
            values, scales = page_parts(pages[:, :, 0])
            assert np.array_equal(found, values[page, offset]) and address % 16 == 0 and pitch % 8 == 0
            assert np.array_equal(image[address + pitch - BASE:][:8], scales[page, offset])
        else:
            assert np.array_equal(found, pages[page, offset, 0]) and pitch == cache.key_bytes


@pytest.mark.parametrize(("page_size", "multiples"), [(1, 2), (16, 17), (64, 65), (72, 73)])
def test_pages_of_584_bytes_are_padded(page_size, multiples):
    cache = _cache("fp8-584", page_size)
    assert cache.page_bytes == 576 * multiples
    image = cache.image(np.zeros((2, page_size, 1, 584), np.uint8)).reshape(2, -1)
    assert not image[:, :584 * page_size].any() and (image[:, 584 * page_size:] == 0xA5).all()


def test_the_extra_cache_has_pages_of_its_own():
    load = Workload(name="x", heads=1, lengths=(1,), page_size=64)
    assert KeyCache.of(load, page_size=2).page_size == 2 and KeyCache.of(load).page_size == 64


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("beat", [16, 64])
def test_gathered_bytes_are_those_of_the_worst_place(kind, beat):
    cache = _cache(kind, 64)
    starts = [cache.locate(slot)[0] for slot in range(64)]
    beats = max(-(-(start + cache.row_bytes) // beat) - start // beat for start in starts)
    assert cache.gathered_bytes(beat) == (beats + (kind == "fp8-584")) * beat + 4


@pytest.mark.parametrize(("page_size", "entries"), [
    (1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 1, 2, 4, 5, 6, 8]), (5, [0, 1, 2, 3, 4, 8, 9]),
    (64, [0, 1, 2, 3, 4, 5, 6])])
def test_entries(page_size, entries):
    found = _cache(None, page_size).entries(np.arange(7))
    assert found.tolist() == entries and found.dtype == np.int32


def test_paged_keys_come_page_by_page():
    paged = Paged(_cache(None, 16), np.array([[9, 9, 9, 9], [3, 0, 7, 9]]))
    runs = [*paged.runs(1, Piece(10, 30))]  # keys 10 to 39: the end of page 3, page 0, half of page 7
    assert [(run.key, run.count) for run in runs] == [(0, 6), (6, 16), (22, 8)]
    assert [run.operands["address"] for run in runs] == [BASE + 48 * slot for slot in (3 * 16 + 10, 0, 7 * 16)]
    assert all(run.opcode == Opcode.LOAD and run.operands.keys() == {"address", "pitch"} for run in runs)
    assert not paged.whole and [*paged.runs(1, Piece(0, 0))] == []


@pytest.mark.parametrize("kind", ["fp8-656", "fp8-584"])
def test_paged_fp8_keys_come_whole_and_at_most_128_at_a_time(kind):
    paged = Paged(_cache(kind, 1024), np.array([[2]]))
    runs = [*paged.runs(0, Piece(5, 300))]
    assert [(run.key, run.count) for run in runs] == [(0, MOST_ROWS), (MOST_ROWS, MOST_ROWS), (2 * MOST_ROWS, 44)]
    assert paged.whole and all(run.operands[kind.replace("-", "_")] is True for run in runs)
    assert [run.operands["address"] for run in runs] == [
        paged.cache.locate(2 * 1024 + 5 + run.key)[0] for run in runs]


def _listed(sequences):
    caches = (_cache("fp8-656", 3), KeyCache.of(Workload(
        name="x", heads=1, lengths=(1,), head_dim=576, cache="fp8-656"), 0x9000, page_size=2))
    return Listed(caches, sequences, 0x8000, 16)


def _entries(listed, run):
    start = run.operands["list"] - listed.base
    return np.frombuffer(bytes(listed.image[start:start + 4 * run.count]), "<i4").tolist()


def test_listed_keys_come_from_the_one_cache_then_from_the_other():
    listed = _listed([_sequence([]), _sequence([7, 0, 5, 4, 2], [3, 1, 6])])
    first, second = listed.runs(1, Piece(3, 4))  # keys 3 and 4 of the first list, 0 and 1 of the second
    assert (first.key, first.count, second.key, second.count) == (0, 2, 2, 2)
    assert _entries(listed, first) == [5, 2] and _entries(listed, second) == [3, 1]  # slot 4 is slot 1 of page 1
    assert first.opcode == second.opcode == Opcode.GATHER
    assert first.operands == {"list": 0x8000, "address": BASE, "page_bytes": 3 * 656, "page_size": 3, "fp8_656": True}
    assert second.operands == {"list": 0x8010, "address": 0x9000, "page_bytes": 2 * 656, "page_size": 2,
                               "fp8_656": True}
    assert [(run.key, run.count) for run in listed.runs(1, Piece(5, 3))] == [(0, 3)]
    assert [*listed.runs(0, Piece(0, 0))] == [] and listed.whole


def test_lists_begin_at_a_beat_and_are_written_once():
    """Whoever asks for the same keys again gets the same list."""
    listed = _listed([_sequence(range(300))])
    runs = [*listed.runs(0, Piece(0, 300))]
    assert [(run.key, run.count) for run in runs] == [(0, MOST_ROWS), (MOST_ROWS, MOST_ROWS), (2 * MOST_ROWS, 44)]
    assert all(run.operands["list"] % 16 == 0 for run in runs)
    size = len(listed.image)
    assert size == 300 * 4
    assert [*listed.runs(0, Piece(0, 300))] == runs and len(listed.image) == size
    [other] = listed.runs(0, Piece(1, 3))
    assert _entries(listed, other) == [1, 2, 4] and len(listed.image) == size + 16
