"""What is priced: the units, and the registers around them that give a clock rate its meaning."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amla.rtl.fp.exp2 import Exp2
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.fp.mul import Mul
from amla.rtl.fp.word import BF16, U6_10
from amla.rtl.rescale import Rescale
from amla.rtl.softmax.lanes import AccumulateLane, VectorLane

__all__ = ["QUICK", "UNITS", "Registered", "Unit"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One priced unit.

    Attributes
    ----------
    title: what a person calls it
    make:  makes the component; its ports are plain signals
    """

    title: str
    make: Callable[[], wiring.Component]


def _rescale(comp_bits: int) -> Unit:
    return Unit(title=f"rescale unit, comp_bits {comp_bits}", make=lambda: Rescale(comp_bits=comp_bits))


#: Units by name, in the order of the report. The ``mul`` lane's offset is one word, so it has ``comp_bits`` 0.
UNITS = {
    **{f"rescale_{comp_bits}": _rescale(comp_bits) for comp_bits in range(4)},
    "mul": Unit(title="FP32 multiplier", make=Mul),
    "lane_amla": Unit(title="accumulate lane, amla, comp_bits 0",
                      make=lambda: AccumulateLane(mode="amla", comp_bits=0)),
    "lane_mul": Unit(title="accumulate lane, mul", make=lambda: AccumulateLane(mode="mul", comp_bits=0)),
    "exp2": Unit(title="exp2", make=Exp2),
    "vector_lane": Unit(title="vector lane, amla", make=lambda: VectorLane(mode="amla")),
    "vector_lane_operand": Unit(title="vector lane, amla, P in BF16",
                                make=lambda: VectorLane(mode="amla", p_format=BF16)),
    "fdpa": Unit(title="dot unit, k = 16", make=lambda: Fdpa(k=16, acc_frac_bits=30, p_format=U6_10)),
    "fdpa_operand": Unit(title="dot unit, k = 16, P in BF16", make=lambda: Fdpa(k=16, acc_frac_bits=30)),
}

#: The units that the bars compare.
QUICK = ("rescale_0", "rescale_2", "mul", "lane_amla", "lane_mul")


class Registered(wiring.Component):
    """``inner`` between registers, behind four pins whatever its width.

    **Latency:** that of ``inner`` plus two cycles, then one cycle for each output bit.

    Operands come from a shift register, so that each is a register's output. Results are captured in
    registers with no logic before them; only from there they load into a second shift register. A path
    between registers is therefore one inside ``inner``, or a single step of a shift register.

    Parameters
    ----------
    inner: component whose ports are plain signals

    Members
    -------
    serial_in :  In(1), shifts through the operand bits
    load :       In(1), the captured results enter the output shift register instead of shifting it
    serial_out : Out(1), last bit of the output shift register
    """

    serial_in: In(1)
    load: In(1)
    serial_out: Out(1)

    def __init__(self, inner: wiring.Component):
        self.inner = inner
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        ports = [(member.flow, value) for _, member, value in self.inner.signature.flatten(self.inner)]
        inputs = Cat(value for flow, value in ports if flow is In)
        outputs = Cat(value for flow, value in ports if flow is Out)

        operands = Signal(len(inputs), reset_less=True)
        results = Signal(len(outputs), reset_less=True)
        leaving = Signal(len(outputs), reset_less=True)
        m.d.sync += [
            operands.eq(Cat(self.serial_in, operands)),
            results.eq(outputs),
            leaving.eq(Cat(0, leaving)),
        ]
        with m.If(self.load):
            m.d.sync += leaving.eq(results)
        m.d.comb += [inputs.eq(operands), self.serial_out.eq(leaving[-1])]
        return m
