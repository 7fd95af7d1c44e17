"""The larger of two FP32 words. Golden twin: ``amla.model.fp.maximum``."""

from amaranth import C, Cat, Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .nets import net
from .word import FP32, unpack

__all__ = ["Maximum"]


class Maximum(wiring.Component):
    """y = max(a, b); NaN if either is NaN; subnormals are zeros; −0 is below +0.

    **Latency:** none, combinational.

    Members
    -------
    a, b : In(32), FP32 words
    y :    Out(32), FP32 word
    """

    a: In(32)
    b: In(32)
    y: Out(32)

    latency = 0

    def elaborate(self, platform):
        m = Module()
        words, keys, nans = [], [], []
        for name, word in ("a", self.a), ("b", self.b):
            operand = unpack(m, word, FP32, name=name)
            flushed = net(m, Mux(operand.zero, Cat(C(0, 31), operand.sign), word), name=f"{name}_flushed")
            # The keys' unsigned order is the numbers': negatives inverted, positives above them.
            keys.append(net(m, Mux(operand.sign, ~flushed, flushed | 1 << 31)[:32], name=f"{name}_key"))
            words.append(flushed)
            nans.append(operand.nan)
        m.d.comb += self.y.eq(Mux(nans[0] | nans[1], FP32.nan, Mux(keys[0] >= keys[1], words[0], words[1])))
        return m
