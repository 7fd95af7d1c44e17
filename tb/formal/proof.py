"""What a proof is: a claim, a circuit that asserts it, and a planted bug that must break it."""

import itertools
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module, util

from amaranth import C, ClockDomain, ClockSignal, Module, Value
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
    cycles:    length of the runs from reset in which the bug must be found; without ``induction`` also the claim's
    induction: length k of the k-induction (base case of k cycles and step) that proves the claim for all time;
               ``None``: the claim is for ``cycles`` cycles
    probes:    inputs of the circuit and the flattened internal nets they are wired to, so that an invariant
               can speak of the unit's state
    quick:     decided within seconds, part of the default tests
    timeout:   seconds of solving before the verdict is "timeout"
    """

    name: str
    says: str
    build: Callable[[types.ModuleType], wiring.Component]
    bug: Bug
    cycles: int = 1
    induction: int | None = None
    probes: dict[str, str] = field(default_factory=dict)
    quick: bool = False
    timeout: int = 240

    @property
    def engine(self) -> str:
        """Method and depth, for people."""
        if self.induction is not None:
            return f"{self.induction}-induction"
        return "all inputs" if self.cycles == 1 else f"bounded, {self.cycles} cycles"

    def circuit(self, *, broken: bool) -> wiring.Component:
        """The asserting circuit, around the RTL or around its twin with the bug."""
        return self.build(self.bug.plant() if broken else import_module(self.bug.module))


class Wrapper(wiring.Component):
    """Base of the asserting circuits: every input is free in every cycle, and there is no reset.

    Only the initial state counts as reset; ``check`` adds the unit and the assertions.

    Parameters
    ----------
    inputs: the free inputs, as a signature's members
    """

    def __init__(self, inputs: dict):
        super().__init__({"clock": In(1), **inputs})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain("sync", reset_less=True)
        m.d.comb += ClockSignal().eq(self.clock)
        self.check(m)
        return m

    def check(self, m: Module) -> None:
        """Add the unit and its assertions to ``m``."""
        raise NotImplementedError

    def follows(self, m: Module, result: Value, expected: Value, cycles: int, *, when: Value | None = None) -> None:
        """Assert that ``result`` is what ``expected`` was so many cycles ago, if ``when`` held then.

        Nothing is asked of the first cycles. An induction of as many proves it for all time.
        """
        asked = register(m, C(1, 1) if when is None else when, name="asked", cycles=cycles)
        m.d.comb += Assert(~asked | (result == register(m, expected, name="expected", cycles=cycles)))
