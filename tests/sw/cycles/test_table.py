"""Records of commands and of the entries of lists."""

import numpy as np
import pytest
from amla.rtl.isa import Opcode
from amla.sw.compiler.program import Command, assemble
from amla.sw.cycles.table import entries_of, table_of

pytestmark = pytest.mark.smoke


def test_sizes_are_those_in_memory(tiny):
    program = [Command.build(Opcode.MMAD, mt=2, nt=2, kt=step) for step in (1, 1, 2)] + [Command.build(Opcode.HALT)]
    table = table_of(program, tiny)
    assert 2 * table["halfwords"].sum() == len(assemble(program))
    assert table["halfwords"].tolist() == [5, 2, 3, 2]


def test_adjacent_rows_are_one_run(tiny):
    load = {"rows": 3, "rows_padded": 4, "cols": 24}
    apart, adjacent = table_of([Command.build(Opcode.LOAD, pitch=pitch, **load) for pitch in (96, 48)], tiny)
    assert (apart["runs"], apart["beats"]) == (3, 3) and (adjacent["runs"], adjacent["beats"]) == (1, 9)
    store = table_of([Command.build(Opcode.STORE, rows=9, lse=True)], tiny)[0]
    assert store["runs"] * store["beats"] == 3


def test_fp8_rows_are_whole_beats(tiny):
    load = {"rows": 2, "rows_padded": 2, "cols": 512, "fp8_584": True}
    record = table_of([Command.build(Opcode.LOAD, address=48, pitch=2000, **load)], tiny)[0]
    assert (record["address"], record["beats"]) == (48, 72)
    assert (record["scales"], record["scales_beats"], record["first_scale"]) == (2048, 1, 0)


def test_entries_name_their_rows(tiny):
    """Page and slot of an entry; -1 is no row; without memory they name slot after slot."""
    gather = Command.build(Opcode.GATHER, list=64, rows=3, rows_padded=3, cols=24, page_size=3, page_bytes=160,
                           address=4096)
    memory = np.zeros(128, np.uint8)
    memory[64:76] = np.array([5, -1, 2], "<i4").view(np.uint8)  # page 1 slot 1; none; page 0 slot 2
    found = entries_of([gather], tiny, memory)
    assert found["read"].tolist() == [1, 0, 1]
    assert found["address"][[0, 2]].tolist() == [4096 + 160 + 48, 4096 + 96]
    assert found["beats"].tolist()[0] == 3
    assert entries_of([gather], tiny)["address"].tolist() == [4096, 4096 + 48, 4096 + 96]
