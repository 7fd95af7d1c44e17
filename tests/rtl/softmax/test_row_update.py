# amaranth: UnusedElaboratable=no
"""RowUpdate, RowResult and RowWeight against the golden model, on arbitrary states, in Amaranth's simulator."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from amaranth.sim import Simulator
from amla.model.attention.accumulate import reciprocal_and_lse
from amla.model.attention.sink import sink_factor_word
from amla.model.attention.softmax import RowState, softmax_tile
from amla.model.attention.split_kv import merge_factors
from amla.model.fp.add import sub
from amla.model.fp.convert import narrow, rint
from amla.model.fp.exp2 import exp2
from amla.model.fp.formats import OPERANDS
from amla.model.fp.maximum import maximum
from amla.model.fp.mul import mul
from amla.model.numerics import Numerics
from amla.model.rescale import rescale
from amla.rtl.config import CoreConfig
from amla.rtl.softmax.row_result import RowResult
from amla.rtl.softmax.row_update import RowUpdate
from amla.rtl.softmax.row_weight import UNSEEN, RowWeight, slots

ROWS = 400
MINUS_INF, LOWEST = np.uint32(0xFF800000), np.uint32(0xFF7FFFFF)
SPECIAL = (0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x00000001, 0x7F7FFFFF, 0xFF7FFFFF)


def words(rng, values, special):
    """FP32 words of ``values``, with special words among them."""
    result = np.asarray(values).astype(np.float32).view(np.uint32)
    replaced = rng.random(result.shape) < special
    return np.where(replaced, rng.choice(np.array(SPECIAL, np.uint32), result.shape), result)


def simulate(dut, inputs, outputs):
    """Drive one row per cycle; return the outputs, row by row, ``dut.latency`` cycles later."""
    rows = len(next(iter(inputs.values())))
    seen = []

    async def bench(ctx):
        for row in range(rows + dut.latency):
            for name, column in inputs.items():
                ctx.set(getattr(dut, name), int(column[min(row, rows - 1)]))
            if row >= dut.latency:
                seen.append([ctx.get(getattr(dut, name)) for name in outputs])
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


@pytest.mark.smoke
@pytest.mark.parametrize(("mode", "comp_bits", "format", "p_format"), [
    ("amla", 0, "bf16", "u6.10"), ("amla", 3, "bf16", "operand"), ("amla", 2, "fp16", "operand"),
    ("mul", 1, "bf16", "u6.10"), ("pow2", 0, "bf16", "u6.10"), ("pow2", 2, "fp16", "operand"),
])
def test_row_update(mode, comp_bits, format, p_format):
    """Maxima that rise, fall or stay; c far outside of what rounding makes of it, so that E clamps."""
    rng = np.random.default_rng(comp_bits)
    config = replace(CoreConfig.load("tiny"), mode=mode, comp_bits=comp_bits, format=format, p_format=p_format)
    p = Numerics(p_format=p_format).format_of_p(OPERANDS[format])
    scale = int(np.float32(0.75).view(np.uint32))
    m_in = rng.normal(0, 30, ROWS)
    if mode == "pow2":
        m_in = np.ceil(m_in)
    rise = rng.choice([0, 0.01, 1, -1, 20, 500, -500], ROWS) * rng.random(ROWS)
    smax = words(rng, m_in / 0.75 + rise, 0.05)
    smax[rng.random(ROWS) < 0.15] = MINUS_INF
    state = RowState(
        m=np.where(rng.random(ROWS) < 0.15, LOWEST, words(rng, m_in, 0.05)),  # with or without a sum
        c=words(rng, 1 + rng.choice([1e-4, 2e-3, 8e-3, 0.3], ROWS) * rng.uniform(-1, 1, ROWS), 0),
        l=words(rng, np.exp(rng.normal(0, 10, ROWS)), 0), L=words(rng, np.exp(rng.normal(0, 10, ROWS)), 0))
    first, valid = rng.random(ROWS) < 0.2, rng.random(ROWS) < 0.9
    before = RowState(**{name: array.copy() for name, array in vars(state).items()})

    names = list(config.state_fields)
    dut = RowUpdate(config)
    inputs = {"scale": np.full(ROWS, scale), "first": first, "valid": valid, "smax": smax,
              **{f"{name}_in": getattr(before, name) for name in names}}
    outputs = [*names, "offsets", *(["s16"] if mode == "amla" else [])]
    seen = simulate(dut, inputs, outputs)

    # One masked-in score of -inf adds nothing to the sums where the maximum is finite.
    for flag in (False, True):
        rows = np.flatnonzero(first == flag)
        part = RowState(**{name: getattr(before, name)[rows] for name in ("m", "c", "l", "L")})
        _, offsets = softmax_tile(
            np.full((len(rows), 1), 0xFF800000, np.uint32), valid[rows].astype(np.int64), smax[rows], part,
            scale_word=scale, first=flag, mode=mode, comp_bits=comp_bits, format=p)
        for index, row in enumerate(rows):
            got = dict(zip(outputs, seen[row], strict=True))
            assert got["m"] == part.m[index]
            if mode == "amla" and (part.m[index] & 0x7F800000) != 0x7F800000:
                m = part.m[index:index + 1]
                assert not valid[row] or got["s16"] == narrow(exp2(sub(m, rint(m))), p)[0]
            if "c" in names:
                assert got["c"] == part.c[index]
            assert got["offsets"] == int.from_bytes(offsets[index].tobytes(), "little")
            old = {name: getattr(before, name)[row] for name in names}
            scaled = {"L": mul(old["L"], exp2(sub(old["m"], part.m[index])))}
            for name in {"amla": "l", "mul": "", "pow2": "lL"}[mode]:
                scaled[name] = rescale(np.array([old[name]]), offsets[index].view(np.int32))[0]
            for name, value in scaled.items():
                assert got[name] == (0 if flag else value if valid[row] else old[name])


@pytest.mark.smoke
def test_row_result():
    """Random sums, zeros, and special words."""
    rng = np.random.default_rng(3)
    state = RowState(
        m=words(rng, rng.normal(0, 40, ROWS), 0.1), c=np.full(ROWS, 0x3F800000, np.uint32),
        l=words(rng, np.exp(rng.normal(0, 20, ROWS)), 0.1),
        L=words(rng, np.exp(rng.normal(0, 20, ROWS)), 0.2))
    recip, lse = reciprocal_and_lse(state, mode="amla")
    seen = simulate(RowResult(), {"m": state.m, "L": state.L, "divisor": state.l}, ["recip", "lse"])
    # A subnormal L counts as zero; no sum is one.
    usual = (state.L & 0x7F800000 != 0) | (state.L & 0x7FFFFF == 0)
    assert usual.sum() > ROWS // 2
    for row in np.flatnonzero(usual):
        assert seen[row] == [recip[row], lse[row]]


@pytest.mark.smoke
def test_row_sink():
    """Sinks near the LSE and far from it, special words, rows without key."""
    rng = np.random.default_rng(5)
    lse = words(rng, rng.normal(0, 40, ROWS), 0.1)
    near = lse.view(np.float32) + rng.choice([0, 1e-3, 1, 30], ROWS).astype(np.float32) * rng.normal(size=ROWS)
    sink, recip = words(rng, near, 0.2), words(rng, np.exp(rng.normal(0, 20, ROWS)), 0.1)
    flags = {name: rng.random(ROWS) < 0.5 for name in ("fresh", "seen", "adds", "lone")}  # of splits
    seen = simulate(RowWeight(4), {"recip": recip, "lse": lse, "sink": sink, **flags}, ["weighed"])
    factor = np.array([sink_factor_word(*row) for row in zip(lse, sink, strict=True)], np.uint32)
    empty = recip == 0x7F800000
    assert empty.any() and np.isfinite(near).sum() > ROWS // 2
    assert [row for row, in seen] == np.where(empty, recip, mul(recip, factor)).tolist()


@pytest.mark.smoke
@pytest.mark.parametrize("rows", [2, 8])
def test_row_weight_of_splits(rows):
    """Splits of rows in turns, first summed, then weighed by their sum; some count for nothing, or alone."""
    rng, turn, splits = np.random.default_rng(rows), slots(rows), 4
    lses = words(rng, rng.normal(0, 4, (splits, turn)), 0.1)
    lses[rng.random((splits, turn)) < 0.3] = 0x7F800000
    lses[:, 0] = lses[1:, 1] = 0x7F800000
    present = lses != 0x7F800000
    count, top = present.sum(axis=0), np.array([maximum_of(column) for column in lses.T], np.uint32)
    factors, _ = merge_factors(lses)
    both = [np.vstack([array, array]).reshape(-1) for array in (lses, present, np.broadcast_to(top, lses.shape),
                                                                np.broadcast_to(count == 1, lses.shape))]
    step = np.arange(2 * splits * turn)
    seen = simulate(RowWeight(rows), {
        "sink": both[0], "seen": both[1], "lse": both[2], "lone": both[3], "merge": step >= 0, "fresh": step < turn,
        "adds": both[1] & (step < splits * turn), "recip": np.zeros_like(both[0])}, ["weighed"])
    assert (factors == UNSEEN).any() and (count == 1).any() and (count > 1).any()
    assert [word for word, in seen[splits * turn:]] == factors.reshape(-1).tolist()


def maximum_of(lses):
    """Of the words that count, as a row pass finds it."""
    best = lses[lses != 0x7F800000]
    return reduce(maximum, best) if len(best) else 0x7F800000
