"""Named nets and reset-less registers for feed-forward data paths.

Both give an expression a name, so that it is written once in the emitted Verilog however often it is used.
Data registers carry no reset: what they hold before the first input reaches them is never valid.
"""

from amaranth import Module, Signal, Value

__all__ = ["net", "register"]


def net(m: Module, value, *, name: str, shape=None) -> Signal:
    """Combinational signal equal to ``value`` (truncated or extended to ``shape``, if given)."""
    value = Value.cast(value)
    signal = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
    m.d.comb += signal.eq(value)
    return signal


def register(m: Module, value, *, name: str, shape=None, cycles: int = 1) -> Value:
    """``value``, ``cycles`` clock cycles later.

    Raises
    ------
    ValueError: ``cycles`` is negative.
    """
    if cycles < 0:
        raise ValueError(f"cycles must be at least 0, not {cycles!r}")
    value = Value.cast(value)
    for cycle in range(cycles):
        stage = Signal(value.shape() if shape is None else shape, reset_less=True,
                       name=name if cycle == cycles - 1 else f"{name}_{cycle}")
        m.d.sync += stage.eq(value)
        value = stage
    return value
