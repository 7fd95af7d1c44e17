# amaranth: UnusedElaboratable=no
"""Row update of the online softmax: from a row's maximum and state to its new frame and row offsets."""

from amaranth import C, Cat, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..fp.add import Add
from ..fp.convert import Ceil, Narrow, Rint, ToInt
from ..fp.exp2 import Exp2
from ..fp.maximum import Maximum
from ..fp.mul import Mul
from ..fp.recip import Recip
from ..fp.word import ONE, widen
from ..pipeline import Pipeline
from ..rescale import Rescale

__all__ = ["RowUpdate"]

#: The lowest finite number, where a row's maximum starts: never -inf, from which -inf would make NaN.
LOWEST = 0xFF7FFFFF

#: Clamp of the ratio's excess E: [-2**17, 2**17).
EXCESS_BITS = 18
#: Bits of a row offset's correction, which is below the excess.
_PART_BITS = EXCESS_BITS + 1


class RowUpdate(wiring.Component):
    """One row's step of the online softmax at the start of a tile; feed-forward.

    Computes the state that the tile's elements and sums start from: the new maximum and its frame, the row
    offsets, and the sums of the earlier tiles already brought into the new frame, so that the tile's own sums
    are simply added. A row without valid column keeps its state (``first``: the empty state).

    **Latency**: ``latency`` cycles. **Throughput**: one row per cycle.

    Parameters
    ----------
    config: ``mode``, ``comp_bits`` and the format of P

    Members
    -------
    scale:  sigma, constant during a program
    first, valid: first tile of the row; the row has a valid column in this tile
    smax:   maximum of the row's valid raw scores
    m_in, c_in, l_in, L_in: state after the earlier tiles, ignored with ``first``; in mode ``pow2`` m_in is an integer
    m, c:   new maximum, at least the lowest finite number (mode ``pow2``: the integer above it), and its rounding
    s16:    factor of P, in P's format
    l, L:   sums of the earlier tiles in the new frame
    offsets: row offsets, word s in bits 32·s and up; in mode ``mul`` word 0 is the factor of O, the others 0

    ``c_in``, ``c`` exist in mode ``amla`` only, where ``s16`` is not constant; ``l_in``, ``l`` not in ``mul``.
    In mode ``pow2`` no multiplication is left but that of the maximum by sigma.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        state = config.state_fields
        super().__init__({
            "scale": In(32), "first": In(1), "valid": In(1), "smax": In(32),
            **{f"{name}_in": In(32) for name in state},
            **{name: Out(32) for name in state},
            "s16": Out(16), "offsets": Out(32 << config.comp_bits),
        })
        self._pipe = pipe = Pipeline()
        self.latency = pipe.finish(self._describe(pipe), self)

    def _describe(self, pipe):
        """Describe the datapath; return the results by output port."""
        mode = self.config.mode
        first, valid = pipe.data(self.first, "first"), pipe.data(self.valid, "valid")
        smax, sum_in = pipe.data(self.smax, "smax"), pipe.data(self.L_in, "sum_in")
        m_in = pipe.register(pipe.comb("m_start", Mux, first, LOWEST, pipe.data(self.m_in, "m_in")))

        def scaled_sum(name, scaled, old):
            return pipe.comb(name, lambda v, f, a, b: Mux(f, 0, Mux(v, a, b)), valid, first, scaled, old)

        x_max = pipe.unit("scale_maximum", Mul(), a=smax, b=self.scale)
        if mode == "pow2":
            x_max = pipe.register(pipe.unit("ceil", Ceil(), a=x_max))
        m_new = pipe.register(pipe.unit("maximum", Maximum(), a=m_in, b=x_max))
        minus_m = pipe.comb("minus_m", _negated, m_new)
        m_step = pipe.unit("m_step", Add(), a=m_in, b=minus_m)
        results = {"m": pipe.comb("m_out", Mux, valid, m_new, m_in)}
        keep = pipe.comb("keep", lambda f, v, new, old: f | ~v | _nonfinite(new) | _nonfinite(old),
                         first, valid, m_new, m_in)
        if mode == "pow2":
            l_in = pipe.data(self.l_in, "l_in")
            offsets, l_scaled, sum_scaled = self._integer_frame(pipe, keep, m_step, l_in, sum_in)
            return results | {
                "l": scaled_sum("l_out", l_scaled, l_in),
                "L": scaled_sum("sum_out", sum_scaled, sum_in),
                "s16": C(self.config.p.one, 16),
                "offsets": offsets,
            }

        alpha = pipe.unit("alpha", Exp2(), x=m_step)
        results["L"] = scaled_sum("sum_out", pipe.unit("scale_sum", Mul(), a=sum_in, b=alpha), sum_in)
        if mode == "mul":
            factor = pipe.comb("factor", lambda v, f, x: Mux(v & ~f, x, C(ONE, 32)), valid, first, alpha)
            return results | {"s16": C(self.config.p.one, 16), "offsets": factor}

        c_in, l_in = pipe.data(self.c_in, "c_in"), pipe.data(self.l_in, "l_in")
        s16, c_new, offsets = self._compensated_frame(pipe, keep, m_new, m_in, c_in)
        l_scaled = pipe.unit("rescale_l", Rescale(comp_bits=self.config.comp_bits), x=l_in, offsets=offsets)
        return results | {
            "c": pipe.comb("c_out", lambda v, f, new, old: Mux(v, new, Mux(f, ONE, old)), valid, first, c_new, c_in),
            "l": scaled_sum("l_out", l_scaled, l_in),
            "s16": s16,
            "offsets": offsets,
        }

    def _integer_frame(self, pipe, keep, m_step, l_in, sum_in):
        """Mode ``pow2``: the row offsets, all delta·2**23 or zero, and both sums rescaled."""
        delta = pipe.unit("delta", ToInt(), a=m_step)
        offset = pipe.register(pipe.comb("offset_new", lambda k, d: Mux(k, 0, Cat(C(0, 23), d)), keep, delta))
        offsets = pipe.comb("offsets_new", lambda x: x.replicate(1 << self.config.comp_bits), offset)
        l_scaled, sum_scaled = (
            pipe.unit(f"rescale_{name}", Rescale(comp_bits=0), x=old, offsets=offset)
            for name, old in (("l", l_in), ("sum", sum_in)))
        return offsets, l_scaled, sum_scaled

    def _compensated_frame(self, pipe, keep, m_new, m_in, c_in):
        """Mode ``amla``: S16, its rounding c, and the row offsets."""
        r = pipe.register(pipe.unit("rint", Rint(), a=m_new))
        r_in = pipe.unit("rint_in", Rint(), a=m_in)
        minus_r = pipe.comb("minus_r", _negated, r)
        s32 = pipe.unit("s32", Exp2(), x=pipe.unit("frame", Add(), a=m_new, b=minus_r))
        p_format = self.config.p
        s16 = pipe.register(pipe.unit("s16_rounded", Narrow(format=p_format), a=s32))
        s16_word = pipe.comb("s16_word", lambda x: widen(x, p_format), s16)
        c_new = pipe.unit("c_new", Mul(), a=s32, b=pipe.unit("recip_s16", Recip(), x=s16_word))
        ratio = pipe.unit("ratio", Mul(), a=c_in, b=pipe.unit("recip_c", Recip(), x=c_new))
        excess = pipe.register(pipe.comb("excess", _excess, ratio))
        parts = pipe.register(pipe.comb("corrections", self._corrections, excess))
        delta = pipe.unit("delta", ToInt(), a=pipe.unit("r_step", Add(), a=r_in, b=minus_r))
        return s16, c_new, pipe.register(pipe.comb("offsets_new", self._offsets, keep, delta, parts))

    def _corrections(self, excess):
        """What each row offset has beside delta·2**23: rint(excess·(2**(k+1) + 2s + 1) / 2**(k+2))."""
        shift = self.config.comp_bits + 2
        parts = []
        for segment in range(1 << self.config.comp_bits):
            product = excess * ((2 << self.config.comp_bits) + 2 * segment + 1)
            quotient, remainder = product >> shift, product[:shift]
            up = remainder[-1] & (remainder[:-1].any() | quotient[0])
            parts.append((quotient + up)[:_PART_BITS])
        return Cat(parts)

    def _offsets(self, keep, delta, parts):
        """All row offsets: delta·2**23 and their correction, or zeros."""
        return Cat(Mux(keep, 0, ((delta << 23) + parts.word_select(segment, _PART_BITS).as_signed())[:32])
                   for segment in range(1 << self.config.comp_bits))

    def elaborate(self, platform):
        m = Module()
        self._pipe.add_to(m)
        return m


def _negated(word: Value) -> Value:
    return Cat(word[:31], ~word[31])


def _nonfinite(word: Value) -> Value:
    return word[23:31].all()


def _excess(ratio: Value) -> Value:
    """(ratio - 1)·2**24 of an FP32 word: exact near 1, clamped to EXCESS_BITS; the sign is not looked at."""
    exponent, fraction = ratio[23:31], ratio[:23]
    bits = EXCESS_BITS - 1
    above, below = Cat(C(0, 1), fraction), fraction[:bits]
    large = (exponent > 127) | above[bits:].any()
    small = (exponent < 126) | ~fraction[bits:].all()
    highest, lowest = C((1 << bits) - 1, EXCESS_BITS), C(1 << bits, EXCESS_BITS)
    return Mux(exponent >= 127, Mux(large, highest, Cat(above[:bits], C(0, 1))),
               Mux(small, lowest, Cat(below, C(1, 1)))).as_signed()
