"""Addresses of commands, against the loops of docs/architecture.md written out."""

import random
from dataclasses import replace

import numpy as np
import pytest
from amla.rtl.isa import Opcode
from amla.sw.compiler.footprint import buffer_words, footprint, last_words
from amla.sw.compiler.program import Command

pytestmark = pytest.mark.smoke


def _same(array, expected):
    assert array.ravel().tolist() == expected


def _footprint(command, config):
    """The footprint; its last words are those that the check of bounds sees."""
    touched = footprint(command, config)
    both = [touched.reads, touched.writes]
    assert last_words(command, config) == {buffer: max(side[buffer].max() for side in both if buffer in side)
                                           for buffer in touched.reads | touched.writes}
    return touched


@pytest.mark.parametrize("seed", range(20))
def test_walks(small, seed):
    rng, small = random.Random(seed), replace(small, m=4)  # so that m and n differ
    m, n, k, lanes, beat = small.m, small.n, small.k, small.lanes, small.beat_elements
    r = lambda high: rng.randint(1, high)  # noqa: E731

    c = Command.build(Opcode.LOAD, l1=2 * r(9), row0=r(n) - 1, rows_padded=r(30), cols=beat * r(3),
                      a_side=seed % 2)
    group, chunks = (m if seed % 2 else n), c["cols"] // k
    _same(_footprint(c, small).writes["L1"], [c["l1"] + (c["row0"] + row) // group * chunks + chunk
                                             for row in range(c["rows_padded"]) for chunk in range(chunks)])

    fields = {name: c[name] for name in ("l1", "row0", "rows_padded", "cols")}
    gather = Command.build(Opcode.GATHER, **fields, a_side=seed % 2)
    _same(_footprint(gather, small).writes["L1"], _footprint(c, small).writes["L1"].ravel().tolist())
    c = Command.build(Opcode.LOAD, l1=r(9), rows_padded=r(9), cols=beat, sinks=True)
    assert _footprint(c, small).writes.keys() == {"SINK"}
    _same(_footprint(c, small).writes["SINK"], list(range(c["l1"], c["l1"] + c["rows_padded"])))

    c = Command.build(Opcode.FEED_B, l1=r(50), l0=r(9), outer=r(4), inner=r(4), outer_stride=r(50),
                      inner_stride=r(9),
                      group_stride=r(9), transpose=True)
    _same(_footprint(c, small).reads["L1"],
          [c["l1"] + o * c["outer_stride"] + i * c["inner_stride"] + j * c["group_stride"]
           for o in range(c["outer"]) for i in range(c["inner"]) for j in range(k // n)])
    _same(_footprint(c, small).writes["L0B"],
          list(range(c["l0"], c["l0"] + c["outer"] * c["inner"] * (k // n))))

    c = Command.build(Opcode.FEED_A, l1=r(50), l0=r(9), outer=r(4), inner=r(4), outer_stride=r(50),
                      inner_stride=r(9))
    _same(_footprint(c, small).reads["L1"], [c["l1"] + o * c["outer_stride"] + i * c["inner_stride"]
                                            for o in range(c["outer"]) for i in range(c["inner"])])

    c = Command.build(Opcode.MMAD, l0a=r(9), l0b=r(9), l0c=r(9), mt=r(4), nt=r(4), kt=r(4),
                      accumulate=seed % 2)
    touched = _footprint(c, small)
    _same(touched.reads["L0A"],
          [c["l0a"] + ki * c["mt"] + mi for ki in range(c["kt"]) for mi in range(c["mt"])])
    _same(touched.reads["L0B"],
          [c["l0b"] + ki * c["nt"] + ni for ki in range(c["kt"]) for ni in range(c["nt"])])
    _same(touched.writes["L0C"],
          [c["l0c"] + mi * c["nt"] + ni for mi in range(c["mt"]) for ni in range(c["nt"])])
    assert ("L0C" in touched.reads) == bool(seed % 2)

    c = Command.build(Opcode.DRAIN_S, l0c=r(9), mt=r(4), nt=r(4), s=r(9), s_pitch=r(50), rowmax=r(9),
                      first=seed % 2)
    touched = _footprint(c, small)
    _same(touched.writes["S"], [c["s"] + mi * c["s_pitch"] + ni * (n // lanes) + g for mi in range(c["mt"])
                                for ni in range(c["nt"]) for g in range(n // lanes)])
    assert ("ROWMAX" in touched.reads) != bool(seed % 2)

    c = Command.build(Opcode.DRAIN_O, l0c=r(9), mt=r(4), nt=r(4), o=r(9), o_pitch=r(50), offsets=r(9),
                      first=seed % 2)
    touched = _footprint(c, small)
    _same(touched.writes["O"], [c["o"] + mi * c["o_pitch"] + ni * (n // lanes) + g for mi in range(c["mt"])
                                for ni in range(c["nt"]) for g in range(n // lanes)])
    assert ("OFFSETS" in touched.reads and "O" in touched.reads) != bool(seed % 2)

    c = Command.build(Opcode.SOFTMAX, s=r(9), s_pitch=r(90), rowmax=r(9), state=r(9), offsets=r(9), mt=r(4),
                      kt=r(4),
                      p=r(9))
    touched = _footprint(c, small)
    _same(touched.writes["L1"],
          [c["p"] + mi * c["kt"] + ch for mi in range(c["mt"]) for ch in range(c["kt"])])
    _same(touched.reads["S"], [c["s"] + mi * c["s_pitch"] + g for mi in range(c["mt"])
                               for g in range(c["kt"] * k // lanes)])

    c = Command.build(Opcode.NORMALIZE, o=r(9), o_pitch=r(90), state=r(9), out=r(9), out_pitch=r(9), lse=r(9),
                      mt=r(4),
                      nt=r(4), first=True)
    touched = _footprint(c, small)
    _same(touched.reads["O"], [c["o"] + mi * c["o_pitch"] + j * (beat // lanes) + g for mi in range(c["mt"])
                               for j in range(c["nt"]) for g in range(beat // lanes)])
    _same(touched.writes["OUT"],
          [c["out"] + mi * c["out_pitch"] + j for mi in range(c["mt"]) for j in range(c["nt"])])
    _same(touched.writes["LSE"], [c["lse"] + mi for mi in range(c["mt"])])
    assert "SINK" not in touched.reads
    c = Command.build(Opcode.NORMALIZE, mt=r(4), nt=1, sink=r(9), first=True, sinks=True)
    _same(_footprint(c, small).reads["SINK"], [c["sink"] + mi for mi in range(c["mt"])])
    c = Command.build(Opcode.NORMALIZE, mt=r(4), nt=1, sinks=True)
    assert "SINK" not in _footprint(c, small).reads
    c = Command.build(Opcode.NORMALIZE, o=r(9), o_pitch=r(90), mt=r(4), nt=r(4), wide=True)
    _same(_footprint(c, small).reads["O"], [c["o"] + mi * c["o_pitch"] + g for mi in range(c["mt"])
                                            for g in range(c["nt"] * (beat // lanes) // 2)])
    # A lane group of FP32 goes across two beats.
    narrow = replace(small, n=small.beat_elements, k=small.beat_elements, lanes=small.beat_elements)
    c = Command.build(Opcode.NORMALIZE, o=r(9), mt=1, nt=3, wide=True)
    _same(_footprint(c, narrow).reads["O"], [c["o"], c["o"] + 1])

    c = Command.build(Opcode.MERGE, l1=r(9), l1_pitch=r(50), split_pitch=r(200), splits=r(4), mt=r(3), nt=r(3),
                      state=r(9), sink=r(9), lse=r(9), out=r(9), out_pitch=r(9), first=True, sinks=seed % 2)
    touched = _footprint(c, small)
    _same(touched.reads["L1"], [c["l1"] + mi * c["l1_pitch"] + split * c["split_pitch"] + word
                                for mi in range(c["mt"]) for split in range(c["splits"])
                                for word in range(2 * c["nt"] * beat // k)])
    _same(touched.writes["STATE"], list(range(c["state"], c["state"] + (c["splits"] + 1) * c["mt"])))
    _same(touched.reads["SINK"], list(range(c["sink"], c["sink"] + (c["splits"] + seed % 2) * c["mt"])))
    _same(touched.writes["LSE"], [c["lse"] + mi for mi in range(c["mt"])])
    _same(touched.writes["OUT"], [c["out"] + mi * c["out_pitch"] + j for mi in range(c["mt"]) for j in range(c["nt"])])
    c = Command.build(Opcode.MERGE, splits=3, mt=2, nt=1, state=4, sinks=True)
    touched = _footprint(c, small)
    assert touched.reads.keys() == {"L1", "STATE"} and touched.writes.keys() == {"OUT"}
    _same(touched.reads["STATE"], list(range(4, 12)))

    c = Command.build(Opcode.STORE, rows=r(30), cols=beat * r(4), out=r(9), out_pitch=r(9))
    _same(_footprint(c, small).reads["OUT"],
          [c["out"] + g * c["out_pitch"] + j for g in range(-(-c["rows"] // m))
                                             for j in range(c["cols"] // beat)])


def test_words_of_every_buffer(tiny):
    assert buffer_words(tiny) == {"L1": 512, "L0A": 64, "L0B": 64, "L0C": 64, "S": 64, "ROWMAX": 32,
                                  "OFFSETS": 32,
                                  "STATE": 32, "O": 256, "OUT": 32, "LSE": 32, "SINK": 32}


def test_commands_without_data(tiny):
    touched = footprint(Command.build(Opcode.HALT), tiny)
    assert not touched.reads and not touched.writes
    assert isinstance(footprint(Command.build(Opcode.LOAD, rows_padded=1, cols=8), tiny).writes["L1"],
                      np.ndarray)
