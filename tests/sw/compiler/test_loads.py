"""Loads: where a KV block in panels lies in L1, and that every valid row of the cache comes, whole, and no other."""

from collections import Counter

import pytest
from amla.rtl.isa import Opcode
from amla.sw.compiler.loads import Layout
from amla.sw.compiler.memory_map import build_job
from amla.sw.compiler.plan import Piece
from amla.sw.workload.generate import make_inputs

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
