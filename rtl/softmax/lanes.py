"""Lanes of the drain and vector engines: what one element goes through."""

from amaranth import C, Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import MODES
from ..fp.add import Add
from ..fp.convert import Narrow
from ..fp.exp2 import Exp2
from ..fp.fixed import FRACTION_BITS, ToFixed
from ..fp.mul import Mul, MulNarrow
from ..fp.nets import register
from ..fp.word import BF16, U6_10, Format
from ..rescale import Rescale

__all__ = ["AccumulateLane", "VectorLane"]


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")


class AccumulateLane(wiring.Component):
    """y = rescaled o + pv. With -0 as o and a neutral offset, y = pv: -0 + pv = pv, also for pv = -0.

    **Latency:** ``latency`` cycles: one, or in ``mul`` those of :class:`Mul`, and those of :class:`Add`.
    **Throughput:** one result per cycle.

    Parameters
    ----------
    mode:      ``"amla"`` and ``"pow2"`` rescale with the word operation, ``"mul"`` with an FP32 multiplication
               by offset 0
    comp_bits: index bits of the row offsets

    Members
    -------
    o :       In(32), FP32 word of the O buffer
    pv :      In(32), FP32 word out of ``fdpa`` (never subnormal)
    offsets : In(32·2^comp_bits), the row's offsets
    y :       Out(32), FP32 word

    Raises
    ------
    ValueError: ``mode`` or ``comp_bits`` is not valid.
    """

    def __init__(self, *, mode: str, comp_bits: int):
        _check_mode(mode)
        self.mode = mode
        self.comp_bits = comp_bits
        self._scale_latency = Mul.latency if mode == "mul" else 1
        super().__init__({
            "o": In(32), "pv": In(32), "offsets": In(32 << comp_bits), "y": Out(32),
        })

    @property
    def leaf_name(self) -> str:
        """Name of the emitted module."""
        return f"accumulate_lane_{self.mode}_{self.comp_bits}"

    @property
    def latency(self) -> int:
        """Cycles from the operands to ``y``."""
        return self._scale_latency + Add.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.add = add = Add()
        if self.mode == "mul":
            m.submodules.scale = scale = Mul()
            m.d.comb += [scale.a.eq(self.o), scale.b.eq(self.offsets[:32])]
            scaled = scale.y
        else:
            m.submodules.scale = scale = Rescale(comp_bits=self.comp_bits)
            m.d.comb += [scale.x.eq(self.o), scale.offsets.eq(self.offsets)]
            scaled = register(m, scale.y, name="scaled")
        m.d.comb += [
            add.a.eq(scaled),
            add.b.eq(register(m, self.pv, name="pv_scaled", cycles=self._scale_latency)),
            self.y.eq(add.y),
        ]
        return m


class VectorLane(wiring.Component):
    """One element of the softmax, of the normalisation, or of a merge of splits.

    With ``merge`` products are summed: that of each element is added to the sum of ``turn`` cycles before, so that the
    adder's stages hold as many sums, of neighbouring columns.

    **Latency:** ``product_latency`` cycles to the products, those of :class:`Mul`; ``sum_latency`` to ``sum``, those of
    :class:`Add` more; ``latency`` cycles to the rest: those of :class:`Mul`, :class:`Add`, :class:`Exp2` and, in
    ``amla``, :class:`MulNarrow`, + 1 (else + 2). **Throughput:** one element per cycle.

    Parameters
    ----------
    mode:   ``"amla"`` multiplies by the row's 16-bit factor, ``"mul"`` and ``"pow2"`` only round (the factor is 1)
    format: of the rounded product
    p_format: of ``p`` and the factor

    Members
    -------
    s :            In(32), score, or element of O when normalising, or of a split when merging
    scale :        In(32), σ, or the row's R when normalising, or its factor when merging
    m :            In(32), row maximum (``pow2``: the integer above it)
    s16 :          In(16), the row's factor; of meaning in ``amla`` only
    merge :        In(1), add a sum, instead of subtracting ``m``
    fresh :        In(1), the sum begins: nothing is added
    p :            Out(16), exp2(sub(mul(s, scale), m)) · s16, rounded once
    p_fixed :      Out(33), ``p`` in fixed point
    e_fixed :      Out(33), the exp2 value in fixed point
    nan :          Out(1), the exp2 value is NaN
    sum :          Out(32), sub(mul(s, scale), m), or the product added to the last sum
    product :      Out(32), mul(s, scale)
    product_16 :   Out(16), mul(s, scale) rounded to the format

    Raises
    ------
    ValueError: ``mode`` is not valid.
    """

    product_latency = Mul.latency
    sum_latency = Mul.latency + Add.latency
    #: Cycles from a sum to the next one of the same column: the adder's, and the register in front of it.
    turn = Add.latency + 1

    def __init__(self, *, mode: str, format: Format = BF16, p_format: Format = U6_10):
        _check_mode(mode)
        self.mode = mode
        self.format = format
        self.p_format = p_format
        fixed = FRACTION_BITS + 1
        super().__init__({
            "s": In(32), "scale": In(32), "m": In(32), "s16": In(16), "p": Out(16), "p_fixed": Out(fixed),
            "e_fixed": Out(fixed), "nan": Out(1), "product": Out(32), "product_16": Out(16),
            "merge": In(1), "fresh": In(1), "sum": Out(32),
        })

    @property
    def leaf_name(self) -> str:
        """Name of the emitted module."""
        return f"vector_lane_{self.format.name}_{self.p_format.name}_{self.mode}"

    @property
    def _round_latency(self) -> int:
        return MulNarrow.latency if self.mode == "amla" else 1

    @property
    def latency(self) -> int:
        """Cycles from the operands to ``p``, ``p_fixed``, ``e_fixed`` and ``nan``."""
        return Mul.latency + Add.latency + Exp2.latency + self._round_latency + 1

    def elaborate(self, platform):
        m = Module()
        m.submodules.scale = scale = Mul()
        m.submodules.subtract = subtract = Add()
        m.submodules.exp2 = exp2 = Exp2()
        m.submodules.product_round = product_round = Narrow(format=self.format)
        m.submodules.p_to_fixed = p_to_fixed = ToFixed(format=self.p_format)
        m.submodules.e_to_fixed = e_to_fixed = ToFixed()

        merge, fresh, maximum = (register(m, value, name=name, cycles=Mul.latency - 1) for name, value in (
            ("merging", self.merge), ("begins", self.fresh), ("maximum", self.m)))
        addend = Mux(merge, Mux(fresh, C(1 << 31, 32), subtract.y), Cat(maximum[:31], ~maximum[31]))
        m.d.comb += [
            scale.a.eq(self.s), scale.b.eq(self.scale),
            self.product.eq(scale.y),
            product_round.a.eq(scale.y), self.product_16.eq(product_round.y),
            subtract.a.eq(scale.y), subtract.b.eq(register(m, addend, name="addend")), self.sum.eq(subtract.y),
            exp2.x.eq(subtract.y),
            e_to_fixed.a.eq(exp2.y),
        ]
        if self.mode == "amla":
            m.submodules.round = round = MulNarrow(format=self.p_format)
            factor = register(m, self.s16, name="factor", cycles=Mul.latency + Add.latency + Exp2.latency)
            m.d.comb += [round.a.eq(exp2.y), round.b.eq(factor)]
            p = round.y
        else:
            m.submodules.round = round = Narrow(format=self.p_format)
            m.d.comb += round.a.eq(exp2.y)
            p = register(m, round.y, name="p_rounded")
        m.d.comb += p_to_fixed.a.eq(p)
        cycles = self._round_latency + 1
        m.d.comb += [
            self.p.eq(register(m, p, name="p_out")),
            self.p_fixed.eq(register(m, p_to_fixed.y, name="p_fixed_out")),
            self.e_fixed.eq(register(m, e_to_fixed.y, name="e_fixed_out", cycles=cycles)),
            self.nan.eq(register(m, e_to_fixed.nan, name="nan_out", cycles=cycles)),
        ]
        return m
