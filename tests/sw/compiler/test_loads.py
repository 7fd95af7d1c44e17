"""Loads: where a KV block in panels lies in L1, and that every valid row of the cache comes, whole, and no other."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from amla.rtl.isa import Opcode
from amla.sw.compiler.loads import Layout
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.plan import Piece
from amla.sw.workload.extra import ExtraCache
from amla.sw.workload.generate import make_inputs
from amla.sw.workload.workload import Workload

pytestmark = pytest.mark.smoke

PANELS = (Piece(0, 2), Piece(2, 2), Piece(4, 1))


def test_panels_lie_one_after_the_other():
    layout = Layout(base=100, groups=3, panels=PANELS)
    words = {}
    for chunk in range(5):
        for group in range(3):
            word, pitch = layout.locate(chunk, group)
            assert pitch == next(panel for panel in PANELS if chunk < panel.stop).size
            words[chunk, group] = word
    assert sorted(words.values()) == list(range(100, 115))  # no word twice, none unused
    assert [words[chunk, 0] for chunk in range(5)] == [100, 101, 106, 107, 112]
    assert [words[1, group] for group in range(3)] == [101, 103, 105]


def _loaded(job):
    """How often each (row of 16-bit elements, chunk) of Q and of the cache is read, counted from their starts."""
    symbols, k = job.program.symbols, job.config.k
    row_bytes = 2 * job.workload.head_dim
    found = {"Q": Counter(), "KV": Counter()}
    for command in job.program.commands:
        if command.opcode != Opcode.LOAD:
            continue
        name = "Q" if "a_side" in command.flags else "KV"
        for row in range(command["rows"]):
            place, column = divmod(command["address"] + row * command["pitch"] - symbols[name], row_bytes)
            for chunk in range(command["cols"] // k):
                assert column % (2 * k) == 0 and column + 2 * k * (chunk + 1) <= row_bytes, "a row is read past its end"
                found[name][place, column // (2 * k) + chunk] += 1
    return found


@pytest.mark.parametrize("seed", range(12))
def test_every_valid_row_is_loaded_and_no_other(random_case, seed):
    workload, config, preload = random_case(seed)
    inputs = make_inputs(workload, format=config.format)
    job = build_job(workload, inputs, config, preload=preload)
    found, chunks = _loaded(job), range(workload.head_dim // config.k)
    rows = range(len(workload.lengths) * workload.rows)
    assert set(found["Q"]) == {(row, chunk) for row in rows for chunk in chunks}
    valid = [int(inputs.block_table[request, key // workload.page_size]) * workload.page_size + key % workload.page_size
             for request, length in enumerate(workload.lengths) for key in range(length)]
    assert {row for row, _ in found["KV"]} == set(valid)
    assert {chunk for _, chunk in found["KV"]} <= set(chunks)
    for row in valid:
        assert len({found["KV"][row, chunk] for chunk in chunks}) == 1, f"row {row} is not loaded whole"


def test_one_tile_reads_every_key_once(make_job):
    job, _ = make_job()
    assert job.plan.traffic == "KV read once"
    assert set(_loaded(job)["KV"].values()) == set(_loaded(job)["Q"].values()) == {1}


#: Sequences of 45, 3 and no keys, each of one cache or of both.
SPARSE = Workload(name="x", heads=5, q_tokens=2, lengths=(60, 3, 0), head_dim=24, head_dim_v=16, page_size=3, topk=40,
                  topk_lengths=(30, 20, 10), extra=ExtraCache(lengths=(20, 1, 0), topk=15, page_size=2))


def _gathered(job):
    """(cache, slot) of the rows that each request's GATHERs bring, in order, by sequence of the program."""
    found, load = defaultdict(list), job.workload
    pages = {job.program.symbols["KV"]: ("kv", load.page_size)}
    if load.extra:
        pages[job.program.symbols["EXTRA"]] = ("extra", load.extra.page_size)
    for command, note in zip(job.program.commands, job.program.annotations, strict=True):
        if command.opcode == Opcode.GATHER:
            entries = job.memory[command["list"] - job.base:][:4 * command["rows"]].view("<i4")
            name, size = pages[command["address"]]
            page, offset = np.divmod(entries, 1 << (size - 1).bit_length())
            assert (offset < size).all() and command["page_size"] == size
            found[note.request] += [(name, int(slot)) for slot in page * size + offset]
    return found


@pytest.mark.parametrize("change", [{}, {"extra": None}, {"cache": "fp8-656", "head_dim": 576, "head_dim_v": 512},
                                    {"cache": "fp8-584", "head_dim": 512, "head_dim_v": 512}],
                         ids=["two caches", "one cache", "fp8-656", "fp8-584"])
def test_every_listed_key_is_gathered_in_order_and_whole(make_job, tiny, change):
    """Each row tile of a sequence brings its keys once, the main cache's first."""
    job, inputs = make_job(replace(SPARSE, **change))
    found = _gathered(job)
    for number, sequence in enumerate(inputs.sequences):
        keys = [*(("kv", int(slot)) for slot in sequence.slots), *(("extra", int(slot)) for slot in sequence.extra)]
        passes = len(job.plan.together)
        assert sorted(found[number]) == sorted(keys * passes)
        if passes == 1:
            assert found[number] == keys
    gathers = [command for command in job.program.commands if command.opcode == Opcode.GATHER]
    flag = {name for name in ("fp8_656", "fp8_584") if change.get("cache") == name.replace("_", "-")}
    assert all(command.flags == flag and command["cols"] == job.workload.head_dim for command in gathers)
    assert all("a_side" in command.flags or not command["rows"] for command in job.program.commands
               if command.opcode == Opcode.LOAD)


@pytest.mark.parametrize(("heads", "tokens"), [(4, 3), (3, 5), (17, 1)])
def test_sinks_are_loaded_first_and_each_normalize_finds_its_own(make_job, heads, tokens):
    load = Workload(name="x", heads=heads, q_tokens=tokens, lengths=(40, 0, 7), head_dim=24, head_dim_v=16, sink=True)
    job, _ = make_job(load)
    loads = [command for command in job.program.commands if command.opcode == Opcode.LOAD]
    assert "sinks" in loads[0].flags and not any("sinks" in command.flags for command in loads[1:])
    assert loads[0]["rows"] == loads[0]["rows_padded"] == job.plan.sink_words and loads[0]["l1"] == 0
    assert loads[0]["address"] == job.program.symbols["SINK"] and loads[0]["cols"] == job.config.beat_elements
    for command, note in zip(job.program.commands, job.program.annotations, strict=True):
        if command.opcode == Opcode.NORMALIZE and "first" in command.flags:
            assert "sinks" in command.flags
            assert command["sink"] == job.plan.sink_word(job.plan.tiles[note.tile])


def test_without_sinks_nobody_asks_for_any(make_job):
    job, _ = make_job()
    assert not any("sinks" in command.flags for command in job.program.commands)
