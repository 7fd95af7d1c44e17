"""The small operators side by side, so that one Verilator build serves all their benches."""

from collections.abc import Mapping

from amaranth import Module
from amaranth.lib import wiring
from amla.rtl.fp.add import Add
from amla.rtl.fp.convert import Ceil, Narrow, Rint, ToInt
from amla.rtl.fp.exp2 import Exp2
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.fp.fixed import FromFixed, ToFixed
from amla.rtl.fp.log2 import Log2
from amla.rtl.fp.maximum import Maximum
from amla.rtl.fp.mul import Mul, MulNarrow
from amla.rtl.fp.recip import Recip

__all__ = ["DOT_UNITS", "OPERATORS", "SideBySide", "dot_units", "operators"]

#: Every small operator by the name it has in the model.
OPERATORS = {
    "add": Add, "mul": Mul, "mul_bf16": MulNarrow, "maximum": Maximum, "to_bf16": Narrow, "rint": Rint,
    "ceil": Ceil, "to_int": ToInt, "to_fixed": ToFixed, "from_fixed": FromFixed, "exp2": Exp2, "log2": Log2,
    "recip": Recip,
}

#: k and acc_frac_bits of the dot units under test: ours, the ends of F, and a k that is no power of two.
DOT_UNITS = ((16, 30), (8, 30), (4, 24), (3, 40))


class SideBySide(wiring.Component):
    """Components that share nothing but the clock; port ``p`` of component ``c`` is ``c_p``."""

    def __init__(self, components: Mapping[str, wiring.Component]):
        self._components = components
        super().__init__({f"{name}_{port}": member for name, component in components.items()
                          for port, member in component.signature.members.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules += self._components.values()
        for name, component in self._components.items():
            for port, member in component.signature.members.items():
                inner, outer = getattr(component, port), getattr(self, f"{name}_{port}")
                m.d.comb += inner.eq(outer) if member.flow is wiring.In else outer.eq(inner)
        return m


def operators() -> SideBySide:
    """One of each small operator."""
    return SideBySide({name: operator() for name, operator in OPERATORS.items()})


def dot_units() -> SideBySide:
    """One ``fdpa`` per entry of :data:`DOT_UNITS`, under its leaf's name."""
    units = [Fdpa(k=k, acc_frac_bits=acc_frac_bits) for k, acc_frac_bits in DOT_UNITS]
    return SideBySide({unit.leaf_name: unit for unit in units})
