"""Turns of a loop, counted down: that the last one has come is a register, not the answer of a comparison."""

from amaranth import Module, Mux, Signal, Value

__all__ = ["countdown"]


def countdown(m: Module, count: Value, *, start: Value, step: Value, name: str) -> Signal:
    """Whether the loop is in its last turn; it then starts again with the next ``step``.

    Parameters
    ----------
    m:     module of the clock domain
    count: turns, read with ``start``; with none of them the last one does not come
    start: strobe: the next cycle is in the first turn; wins over ``step``
    step:  strobe: the next cycle is in the turn after this one
    name:  of the registers
    """
    count = Value.cast(count)
    turns = Signal.like(count, name=f"{name}_turns", reset_less=True)
    left = Signal.like(count, name=f"{name}_left", reset_less=True)
    single = Signal(name=f"{name}_single", reset_less=True)
    last = Signal(name=f"{name}_last", reset_less=True)
    with m.If(start):
        m.d.sync += [turns.eq(count), left.eq(count), single.eq(count == 1), last.eq(count == 1)]
    with m.Elif(step):
        m.d.sync += [left.eq(Mux(last, turns, left - 1)), last.eq(Mux(last, single, left == 2))]
    return last
