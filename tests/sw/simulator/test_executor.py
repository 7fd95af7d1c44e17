"""Commands on buffers, each against its sentence in docs/architecture.md, on words that can be told apart."""

from dataclasses import replace

import numpy as np
import pytest
from amla.model.attention.sink import apply_sink
from amla.model.attention.split_kv import merge_splits
from amla.model.fp.convert import narrow
from amla.model.fp.fdpa import fdpa_word
from amla.model.fp.formats import BF16, U6_10
from amla.rtl.isa import Opcode
from amla.sw.compiler.footprint import footprint
from amla.sw.compiler.program import Command
from amla.sw.simulator.executor import Executor


@pytest.fixture(params=[{}, {"m": 4, "n": 2, "k": 8}, {"m": 2, "n": 4, "k": 8}], ids=["4x4x4", "4x2x8", "2x4x8"])
def config(request, tiny):
    """``tiny`` on cubes of several proportions."""
    return replace(tiny, **request.param)


@pytest.fixture
def core(config):
    """An executor whose L1 and L0 hold small BF16 numbers, and a function that executes on it."""
    executor, rng = Executor(config, scale_word=0x3F800000), np.random.default_rng(5)
    for name in ("L1", "L0A", "L0B"):
        values = rng.integers(-64, 64, executor.buffers[name].shape).astype(np.float32)
        executor.buffers[name][...] = values.view(np.uint32) >> 16
    for name in ("L0C", "O"):
        executor.buffers[name][...] = rng.normal(size=executor.buffers[name].shape).astype(np.float32).view(np.uint32)

    def execute(opcode, **fields):
        command = Command.build(opcode, **fields)
        executor.execute(command, footprint(command, config))
        return executor.buffers

    return executor.buffers, execute


def test_everything_starts_as_nan(tiny):
    for name, words in Executor(tiny, scale_word=0).buffers.items():
        assert (words == words.flat[0]).all(), name
        assert np.isnan((words.astype(np.uint32) << (16 if words.itemsize == 2 else 0)).view(np.float32)).all(), name


def test_feed_a_walks_two_strides(core, config):
    before, execute = core
    l1 = before["L1"].copy()
    after = execute(Opcode.FEED_A, l1=5, l0=3, outer=2, inner=3, outer_stride=10, inner_stride=4)
    for step, (outer, inner) in enumerate((o, i) for o in range(2) for i in range(3)):
        assert after["L0A"][3 + step].tolist() == l1[5 + 10 * outer + 4 * inner][:config.m].tolist()


def test_feed_b_takes_the_low_rows(core, config):
    before, execute = core
    l1 = before["L1"].copy()
    after = execute(Opcode.FEED_B, l1=5, l0=3, outer=2, inner=1, outer_stride=10)
    for step in range(2):
        assert after["L0B"][3 + step].tolist() == l1[5 + 10 * step][:config.n].tolist()


def test_feed_b_transposes_blocks(core, config):
    before, execute = core
    l1, n, k = before["L1"].copy(), config.n, config.k
    after = execute(Opcode.FEED_B, l1=2, l0=1, outer=2, inner=2, outer_stride=20, inner_stride=5, group_stride=9,
                    transpose=True)
    word = 1
    for outer in range(2):
        for inner in range(2):
            block = np.concatenate([l1[2 + 20 * outer + 5 * inner + 9 * j][:n] for j in range(k // n)])
            for h in range(k // n):
                assert after["L0B"][word].tolist() == [[block[y][h * n + x] for y in range(k)] for x in range(n)]
                word += 1


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
def test_mmad_chains_fdpa_over_the_depth(core, config, accumulate, weights):
    before, execute = core
    a, b, c = (before[name].copy() for name in ("L0A", "L0B", "L0C"))
    after = execute(Opcode.MMAD, l0a=2, l0b=1, l0c=4, mt=2, nt=3, kt=2, accumulate=accumulate, weights=weights)
    for mi, ni, row, column in ((0, 0, 0, 0), (0, 2, -1, 1), (1, 1, 0, -1), (1, 2, 1, 0)):
        place = 4 + mi * 3 + ni
        word = c[place][row, column] if accumulate else np.uint32(0)
        for ki in range(2):
            word = fdpa_word(np.ascontiguousarray(a[2 + ki * 2 + mi][row]),
                             np.ascontiguousarray(b[1 + ki * 3 + ni][column]), word, config.acc_frac_bits,
                             a_format=U6_10 if weights else BF16)
        assert after["L0C"][place][row, column] == word


def test_drain_s_keeps_valid_maxima_and_goes_on_from_former_ones(core, config):
    before, execute = core
    l0c, lanes = before["L0C"].copy().view(np.float32), config.lanes
    fields = {"mt": 1, "nt": 2, "s_pitch": 8, "rowmax": 1, "limit": 3}
    maxima = []
    for start in (0, 2):
        after = execute(Opcode.DRAIN_S, l0c=start, s=6 + start, first=start == 0, **fields)
        scores = np.concatenate([l0c[start], l0c[start + 1]], axis=1)
        for group in range(2 * config.n // lanes):
            words = after["S"][6 + start + group].view(np.float32)
            assert words.tolist() == scores[:, group * lanes:(group + 1) * lanes].tolist()
        maxima.append(scores[:, :3].max(axis=1))
        assert after["ROWMAX"][1].view(np.float32).tolist() == np.max(maxima, axis=0).tolist()
    after = execute(Opcode.DRAIN_S, l0c=0, s=6, first=True, **fields)
    assert after["ROWMAX"][1].view(np.float32).tolist() == maxima[0].tolist()


def test_drain_o_begins_anew_with_first(core, config):
    before, execute = core
    l0c = before["L0C"].copy()
    after = execute(Opcode.DRAIN_O, l0c=2, mt=1, nt=1, o=5, o_pitch=2, offsets=0, first=True)
    lanes = config.lanes
    for group in range(config.n // lanes):
        assert after["O"][5 + group].tolist() == l0c[2][:, group * lanes:(group + 1) * lanes].tolist()


def test_softmax_puts_chunks_of_p_row_group_by_row_group(core, config):
    """With equal scores every exponential is one: P is one where a column is valid, and zero beyond."""
    before, execute = core
    before["S"][:] = before["ROWMAX"][:] = 0
    before["L1"][:] = 0
    parts = config.k // config.lanes
    after = execute(Opcode.SOFTMAX, s=0, s_pitch=2 * parts, rowmax=0, state=0, offsets=0, mt=3, kt=2, p=7,
                    limit=config.k + 1, first=True)
    one = np.zeros((max(config.m, config.n), config.k), np.uint16)
    one[:config.m] = U6_10.one
    last = one.copy()
    last[:, 1:] = 0
    for mi in range(3):
        assert after["L1"][7 + 2 * mi].tolist() == one.tolist() and after["L1"][8 + 2 * mi].tolist() == last.tolist()
    assert not after["L1"][:7].any() and not after["L1"][13:].any()


def test_normalize_lays_out_beats_by_lane_group_and_row(core, config):
    """All rows have as many keys, so that O is only divided by that power of two on its way to OUT."""
    before, execute = core
    before["S"][:] = before["ROWMAX"][:] = 0
    parts, groups, m, lanes = config.k // config.lanes, config.beat_elements // config.lanes, config.m, config.lanes
    execute(Opcode.SOFTMAX, s=0, s_pitch=parts, rowmax=0, state=1, offsets=0, mt=2, kt=1, p=0, limit=4, first=True)
    numbers = np.arange(before["O"].size, dtype=np.float32).reshape(before["O"].shape) % 128  # exact in BF16
    before["O"][...] = numbers.view(np.uint32)
    after = execute(Opcode.NORMALIZE, o=3, o_pitch=5 * groups, state=1, out=2, out_pitch=4, lse=5, mt=2, nt=3,
                    first=True)
    for mi in range(2):
        for beat in range(3):
            words = after["OUT"][2 + 4 * mi + beat]
            assert words.shape == (groups, m, lanes)
            expected = numbers[3 + 5 * groups * mi + groups * beat:][:groups] / 4
            assert ((words.astype(np.uint32) << 16).view(np.float32) == expected).all()
    assert np.allclose(after["LSE"][5:7].view(np.float32), np.log(4))


def test_normalize_weighs_a_sink_for_each_row(core, config):
    """Four keys of score 0: a sink of log(4) halves O; the LSE is the keys' alone, later commands keep the factor."""
    before, execute = core
    before["S"][:] = before["ROWMAX"][:] = 0
    parts, groups, m = config.k // config.lanes, config.beat_elements // config.lanes, config.m
    execute(Opcode.SOFTMAX, s=0, s_pitch=parts, rowmax=0, state=1, offsets=0, mt=2, kt=1, p=0, limit=4, first=True)
    before["O"][...] = np.float32(32).view(np.uint32)
    sinks = np.full((2, m), np.log(4), np.float32)
    sinks[0, 1], sinks[1, 0] = -np.inf, np.inf
    before["SINK"][3:5] = sinks.view(np.uint32)
    fields = {"o": 0, "o_pitch": groups, "state": 1, "out": 2, "out_pitch": 1, "mt": 2, "nt": 1}
    wanted = np.full((2, m), 4.0)
    wanted[0, 1], wanted[1, 0] = 8, 0
    for flags in ({"first": True, "sinks": True}, {}):
        after = execute(Opcode.NORMALIZE, **fields, lse=5, sink=3, **flags)
        for out, expected in zip(after["OUT"][2:4], wanted, strict=True):
            assert ((out.astype(np.uint32) << 16).view(np.float32) == expected[:, None]).all()
    assert np.allclose(after["LSE"][5:7].view(np.float32), np.log(4))


def test_normalize_leaves_fp32_as_halfwords(core, config):
    """Row-major as STORE reads OUT: beat by beat, lane group by lane group, the low half of a word first."""
    before, execute = core
    before["S"][:] = before["ROWMAX"][:] = 0
    parts, groups, m = config.k // config.lanes, config.beat_elements // config.lanes, config.m
    execute(Opcode.SOFTMAX, s=0, s_pitch=parts, rowmax=0, state=1, offsets=0, mt=2, kt=1, p=0, limit=1, first=True)
    o = before["O"][3:3 + 2 * 6 * groups].reshape(2, 6 * groups, m, config.lanes)[:, :2 * groups]
    after = execute(Opcode.NORMALIZE, o=3, o_pitch=6 * groups, state=1, out=2, out_pitch=5, lse=5, mt=2, nt=4,
                    first=True, wide=True)
    for mi in range(2):
        beats = after["OUT"][2 + 5 * mi:][:4]  # [beat, lane group, m, lanes]
        rows = np.ascontiguousarray(beats.transpose(2, 0, 1, 3)).reshape(m, -1).view(np.uint32)
        assert (rows == o[mi].swapaxes(0, 1).reshape(m, -1)).all()


@pytest.mark.parametrize("sinks", [False, True])
def test_merge_joins_splits(core, config, sinks):
    """Splits, row groups and columns apart in L1; a row of no key, and one of a single split."""
    before, execute = core
    rng, m, lanes, splits, mt, nt = np.random.default_rng(2), config.m, config.lanes, 3, 2, 2
    columns, groups = nt * config.beat_elements, config.beat_elements // lanes
    words = 2 * columns // config.k
    outs = rng.normal(size=(splits, mt * m, columns)).astype(np.float32).view(np.uint32)
    lses = rng.normal(size=(splits, mt * m)).astype(np.float32).view(np.uint32)
    weights = rng.normal(size=mt * m).astype(np.float32).view(np.uint32)
    lses[:, 0] = lses[1:, 1] = 0x7F800000
    outs[:, 0] = outs[1:, 1] = 0
    for split in range(splits):
        for mi in range(mt):
            rows = slice(mi * m, (mi + 1) * m)
            first = 3 + 40 * split + 17 * mi
            before["L1"][first:first + words, :m] = (
                outs[split, rows].view(np.uint16).reshape(m, words, config.k).swapaxes(0, 1))
            before["SINK"][5 + split * mt + mi] = lses[split, rows]
            before["SINK"][5 + splits * mt + mi] = weights[rows]
    fields = {"l1": 3, "l1_pitch": 17, "split_pitch": 40, "splits": splits, "mt": mt, "nt": nt, "state": 2, "sink": 5,
              "lse": 1, "out": 1, "out_pitch": 3}
    wanted, lse = merge_splits(outs, lses)
    wanted = narrow(apply_sink(wanted, lse, weights) if sinks else wanted, BF16)
    for flags in ({"first": True, "sinks": sinks}, {}):
        before["OUT"][:] = 0
        after = execute(Opcode.MERGE, **fields, **flags)
        for mi in range(mt):
            beats = after["OUT"][1 + 3 * mi:][:nt].transpose(2, 0, 1, 3).reshape(m, nt * groups * lanes)
            assert (beats == wanted[mi * m:(mi + 1) * m]).all()
    assert after["LSE"][1:3].reshape(-1).tolist() == lse.tolist()
