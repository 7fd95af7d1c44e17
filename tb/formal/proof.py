"""What a proof is: a claim, a circuit that asserts it, and a planted bug that must break it."""

import itertools
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, util

from amaranth import C, ClockDomain, ClockSignal, Module, ShapeLike, Value
from amaranth.hdl import Assert
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from amla.rtl.fp.nets import register

__all__ = ["Bug", "Proof", "Wrapper"]

_numbers = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Bug:
    """One change to a source file: ``old``, which must stand there exactly once, becomes ``new``.

    The twin of a proof is therefore today's RTL with that one change, not a copy that ages.

    Parameters
    ----------
    module: name of the module that is changed
    old:    text to replace
    new:    its replacement
    says:   what is wrong with the result, for people
    """

    module: str
    old: str
    new: str
    says: str

    def plant(self) -> types.ModuleType:
        """Import a private copy of the module with the bug in it.

        Raises
        ------
        ValueError: ``old`` does not stand in the module exactly once.
        """
        spec = util.find_spec(self.module)
        assert spec is not None and spec.loader is not None
        source = spec.loader.get_source(self.module)  # type: ignore[attr-defined]
        if (count := source.count(self.old)) != 1:
            raise ValueError(f"the text of a planted bug must stand once in {self.module}, not {count!r} times: "
                             f"{self.old!r}")
        copy = types.ModuleType(f"{self.module}_bug{next(_numbers)}")
        copy.__package__ = self.module.rpartition(".")[0]
        copy.__file__ = spec.origin
        sys.modules[copy.__name__] = copy  # wiring looks its components' modules up
        exec(compile(source.replace(self.old, self.new), f"<{self.says}>", "exec"), copy.__dict__)
        return copy


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A claim about the RTL and how it is decided.

    Parameters
    ----------
    name:      its name on the command line
    says:      the claim, for people
    build:     makes the asserting circuit around the classes of the module it is given
    bug:       the planted bug; its module is the one handed to ``build``
    cycles:    length of the runs from reset in which the bug must be found
    induction: length k of the k-induction (base case of k cycles and step) that proves the claim for all time;
               ``None``: the circuit is combinational, one cycle of free inputs is all
    quick:     decided within seconds, part of the default tests
    timeout:   seconds of solving before the verdict is "timeout"
    """

    name: str
    says: str
    build: Callable[[types.ModuleType], "Wrapper"]
    bug: Bug
    cycles: int = 1
    induction: int | None = None
    quick: bool = False
    timeout: int = 600

    @property
    def engine(self) -> str:
        """Method and depth, for people."""
        return "all inputs" if self.induction is None else f"{self.induction}-induction"

    def circuit(self, *, broken: bool) -> "Wrapper":
        """The asserting circuit, around the RTL or around its twin with the bug."""
        return self.build(self.bug.plant() if broken else import_module(self.bug.module))


def _probe(net: str) -> str:
    """Name of the input that is wired to the net."""
    return "at_" + re.sub(r"\W", "_", net)


class Wrapper(wiring.Component):
    """Base of the asserting circuits: every input is free in every cycle, and there is no reset.

    Only the initial state counts as reset; ``check`` adds the unit and the assertions.

    Parameters
    ----------
    inputs:    the free inputs, as a signature's members
    registers: nets inside the submodule ``unit``, and rows of its memories, by their names after flattening, with
               their shapes: :meth:`at` is what they hold

    Attributes
    ----------
    probes: the inputs that :meth:`at` gives, and the nets that Yosys wires them to
    """

    def __init__(self, inputs: dict, registers: Mapping[str, ShapeLike] | None = None):
        registers = registers or {}
        self.probes = {_probe(net): f"unit.{net}" for net in registers}
        super().__init__({"clock": In(1), **inputs, **{_probe(net): In(shape) for net, shape in registers.items()}})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain("sync", reset_less=True)
        m.d.comb += ClockSignal().eq(self.clock)
        self.check(m)
        return m

    def check(self, m: Module) -> None:
        """Add the unit and its assertions to ``m``."""
        raise NotImplementedError

    def at(self, net: str) -> Value:
        """What the register holds, so that a claim can begin there, or an invariant speak of it."""
        return getattr(self, _probe(net))

    def follows(self, m: Module, result: Value, expected: Value, cycles: int, *, when: Value | None = None) -> None:
        """Assert that ``result`` is what ``expected`` was so many cycles ago, if ``when`` held then.

        Nothing is asked of the first cycles. An induction of as many proves it for all time.
        """
        asked = register(m, C(1, 1) if when is None else when, name="asked", cycles=cycles)
        m.d.comb += Assert(~asked | (result == register(m, expected, name="expected", cycles=cycles)))
