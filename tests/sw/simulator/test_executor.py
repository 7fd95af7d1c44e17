"""Commands on buffers, each against its sentence in docs/architecture.md, on words that can be told apart."""

import numpy as np
import pytest
from amla.model.fp.fdpa import fdpa_word
from amla.rtl.isa import Opcode
from amla.sw.compiler.footprint import footprint
from amla.sw.compiler.program import Command
from amla.sw.simulator.executor import Executor


@pytest.fixture
def core(tiny):
    """An executor whose L1 and L0 hold small BF16 numbers, and a function that executes on it."""
    executor, rng = Executor(tiny, scale_word=0x3F800000), np.random.default_rng(5)
    for name in ("L1", "L0A", "L0B"):
        values = rng.integers(-64, 64, executor.buffers[name].shape).astype(np.float32)
        executor.buffers[name][...] = values.view(np.uint32) >> 16
    for name in ("L0C", "O"):
        executor.buffers[name][...] = rng.normal(size=executor.buffers[name].shape).astype(np.float32).view(np.uint32)

    def execute(opcode, **fields):
        command = Command.build(opcode, **fields)
        executor.execute(command, footprint(command, tiny))
        return executor.buffers

    return executor.buffers, execute


def test_everything_starts_as_nan(tiny):
    for name, words in Executor(tiny, scale_word=0).buffers.items():
        assert (words == words.flat[0]).all(), name
        assert np.isnan((words.astype(np.uint32) << (16 if words.itemsize == 2 else 0)).view(np.float32)).all(), name


def test_feed_a_walks_two_strides(core):
    before, execute = core
    l1 = before["L1"].copy()
    after = execute(Opcode.FEED_A, l1=5, l0=3, outer=2, inner=3, outer_stride=10, inner_stride=4)
    for step, (outer, inner) in enumerate((o, i) for o in range(2) for i in range(3)):
        assert after["L0A"][3 + step].tolist() == l1[5 + 10 * outer + 4 * inner].tolist()


def test_feed_b_transposes_blocks(core, tiny):
    before, execute = core
    l1, n, k = before["L1"].copy(), tiny.n, tiny.k
    after = execute(Opcode.FEED_B, l1=2, l0=1, outer=2, inner=2, outer_stride=20, inner_stride=5, group_stride=9,
                    transpose=True)
    word = 1
    for outer in range(2):
        for inner in range(2):
            block = np.concatenate([l1[2 + 20 * outer + 5 * inner + 9 * j][:n] for j in range(k // n)])
            for h in range(k // n):
                assert after["L0B"][word].tolist() == [[block[y][h * n + x] for y in range(k)] for x in range(n)]
                word += 1


@pytest.mark.parametrize("accumulate", [False, True])
def test_mmad_chains_fdpa_over_the_depth(core, tiny, accumulate):
    before, execute = core
    a, b, c = (before[name].copy() for name in ("L0A", "L0B", "L0C"))
    after = execute(Opcode.MMAD, l0a=2, l0b=1, l0c=4, mt=2, nt=3, kt=2, accumulate=accumulate)
    for mi, ni, row, column in ((0, 0, 0, 0), (0, 2, 3, 1), (1, 1, 2, 3), (1, 2, 1, 0)):
        place = 4 + mi * 3 + ni
        word = c[place][row, column] if accumulate else np.uint32(0)
        for ki in range(2):
            word = fdpa_word(np.ascontiguousarray(a[2 + ki * 2 + mi][row]),
                             np.ascontiguousarray(b[1 + ki * 3 + ni][column]), word, tiny.acc_frac_bits)
        assert after["L0C"][place][row, column] == word


def test_drain_s_keeps_valid_maxima(core, tiny):
    before, execute = core
    l0c = before["L0C"].copy().view(np.float32)
    after = execute(Opcode.DRAIN_S, l0c=0, mt=1, nt=2, s=6, s_pitch=8, rowmax=1, first=True, limit=6, heads=0, head0=0)
    scores = np.concatenate([l0c[0], l0c[1]], axis=1)
    lanes = tiny.lanes
    for group in range(2 * tiny.n // lanes):
        assert after["S"][6 + group].view(np.float32).tolist() == scores[:, group * lanes:(group + 1) * lanes].tolist()
    assert after["ROWMAX"][1].view(np.float32).tolist() == scores[:, :6].max(axis=1).tolist()


def test_drain_o_begins_anew_with_first(core, tiny):
    before, execute = core
    l0c = before["L0C"].copy()
    after = execute(Opcode.DRAIN_O, l0c=2, mt=1, nt=1, o=5, o_pitch=2, offsets=0, first=True)
    lanes = tiny.lanes
    for group in range(tiny.n // lanes):
        assert after["O"][5 + group].tolist() == l0c[2][:, group * lanes:(group + 1) * lanes].tolist()
