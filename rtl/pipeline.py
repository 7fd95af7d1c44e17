"""Feed-forward datapaths whose operands align themselves."""

from collections.abc import Callable, Mapping

from amaranth import Module, Signal, Value, ValueLike
from amaranth.lib import wiring

__all__ = ["Pipeline", "Staged"]


class Staged:
    """A value and the stage (cycle after the pipeline's input) at which it carries an operand.

    Its delay line is shared by everybody who needs it later.
    """

    def __init__(self, value: ValueLike, stage: int, name: str, *, resets: bool):
        self.line = [Value.cast(value)]
        self.stage = stage
        self.name = name
        self.resets = resets


class Pipeline:
    """Collects a feed-forward datapath of fixed-latency operators, then adds it to a module.

    Operands of different age are aligned by registers, so that no latency is written down anywhere. A plain
    Amaranth value or integer among the operands is a constant: it is never delayed. Data registers have no
    reset; those of a strobe have.

    **Latency**: the stage of a result. **Throughput**: one set of operands per cycle.

    The datapath may be described before elaboration (in ``__init__``), so that its latency is known there.

    Raises
    ------
    ValueError: an operand is asked for at a stage before its own.
    """

    def __init__(self) -> None:
        self._comb: list = []
        self._sync: list = []
        self._units: dict[str, wiring.Component] = {}

    def data(self, value: ValueLike, name: str, *, stage: int = 0) -> Staged:
        """An operand that is present at ``stage``."""
        return Staged(value, stage, name, resets=False)

    def strobe(self, value: ValueLike, name: str, *, stage: int = 0) -> Staged:
        """A control value that is present at ``stage``; its registers reset to zero."""
        return Staged(value, stage, name, resets=True)

    def at(self, operand: Staged | ValueLike, stage: int) -> Value:
        """The operand's value at ``stage``."""
        if not isinstance(operand, Staged):
            return Value.cast(operand)
        if stage < operand.stage:
            raise ValueError(f"stage of {operand.name} must be at least {operand.stage}, not {stage!r}")
        line = operand.line
        while len(line) <= stage - operand.stage:
            register = Signal(line[-1].shape(), name=f"{operand.name}_{operand.stage + len(line)}",
                              reset_less=not operand.resets)
            self._sync.append(register.eq(line[-1]))
            line.append(register)
        return line[stage - operand.stage]

    def register(self, operand: Staged) -> Staged:
        """The operand one stage later."""
        stage = operand.stage + 1
        return Staged(self.at(operand, stage), stage, operand.name, resets=operand.resets)

    def comb(self, name: str, function: Callable[..., ValueLike], *operands: Staged | ValueLike) -> Staged:
        """Combinational ``function`` of the aligned operands, in the latest one's stage."""
        stage = latest(operands)
        expression = Value.cast(function(*(self.at(operand, stage) for operand in operands)))
        value = Signal(expression.shape(), name=name, reset_less=True)
        self._comb.append(value.eq(expression))
        return Staged(value, stage, name, resets=False)

    def place(self, name: str, component: wiring.Component, **inputs: Staged | ValueLike) -> int:
        """Place ``component`` and drive its inputs in the stage of the latest one; return that stage."""
        stage = latest(inputs.values())
        self._units[name] = component
        self._drive(component, inputs, stage)
        return stage

    def unit(self, name: str, component: wiring.Component, **inputs: Staged | ValueLike) -> Staged:
        """Place an operator (output ``y``, attribute ``latency``) and return its result."""
        return self.data(component.y, name, stage=self.place(name, component, **inputs) + component.latency)

    def finish(self, results: Mapping[str, Staged | ValueLike], component: wiring.Component) -> int:
        """Drive outputs of ``component`` by name, all in the stage of the latest one; return that stage."""
        stage = latest(results.values())
        self._drive(component, results, stage)
        return stage

    def _drive(self, component, operands, stage):
        self._comb += [getattr(component, port).eq(self.at(operand, stage))
                       for port, operand in operands.items()]

    def add_to(self, m: Module) -> None:
        """Add the datapath collected so far to ``m``."""
        m.d.comb += self._comb
        m.d.sync += self._sync
        for name, component in self._units.items():
            m.submodules[name] = component


def latest(operands) -> int:
    """Stage of the latest operand."""
    return max(operand.stage for operand in operands if isinstance(operand, Staged))
