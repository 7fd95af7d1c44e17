"""Cheap access to the signals of a simulated top level.

cocotb's ``handle.value`` builds a ``LogicArray`` on every read and checks every write; a bench that touches
signals each cycle spends most of its time there. A :class:`Pin` reads and writes plain integers through the
simulator's own calls. Semantics are those of ``handle.value``: right after ``RisingEdge(clk)`` a read gives
the value before the edge and a write takes effect after it.
"""

from collections.abc import Callable

from cocotb.handle import _GPISetAction, _trust_inertial

__all__ = ["Pin", "has_pin"]

#: The widest signal that the simulator transfers as an integer; wider ones travel as strings of digits.
_INT_BITS = 32


class Pin:
    """One signal as an unsigned integer.

    Members
    -------
    handle: the cocotb handle, for triggers (``RisingEdge(pin.handle)``)
    width:  bits
    get():  the value; a signal is two-valued in Verilator
    set(value): drive the value, an integer in [0, 2**width)
    set_bits(digits): drive the value given as ``width`` characters "0" or "1", most significant first;
            the cheapest way to drive a wide signal whose digits are known beforehand

    Raises
    ------
    AttributeError: the top level has no such signal (the message names it).
    ValueError: a value does not fit.
    """

    __slots__ = ("get", "handle", "set", "set_bits", "width")

    def __init__(self, dut, name: str):
        self.handle = getattr(dut, name)
        self.width = len(self.handle)
        raw = self.handle._handle
        self.get: Callable[[], int] = _getter(raw, self.width)
        self.set: Callable[[int], None]
        self.set_bits: Callable[[str], None]
        self.set, self.set_bits = _setters(self.handle, raw, self.width, name)

    def __repr__(self) -> str:
        return f"Pin({self.handle._path}, {self.width})"


def has_pin(dut, name: str) -> bool:
    """Whether the top level has a signal of this name."""
    return hasattr(dut, name)


def _getter(raw, width: int) -> Callable[[], int]:
    if width < _INT_BITS:
        return raw.get_signal_val_long
    if width == _INT_BITS:
        return lambda: raw.get_signal_val_long() & 0xFFFFFFFF
    return lambda: int(raw.get_signal_val_binstr(), 2)


def _setters(handle, raw, width: int, name: str) -> tuple[Callable[[int], None], Callable[[str], None]]:
    if not _trust_inertial:  # cocotb then applies writes itself, at its own time: go through it
        def write(value: int) -> None:
            handle.value = value

        def write_bits(digits: str) -> None:
            handle.value = digits
        return write, write_bits

    deposit = _GPISetAction.DEPOSIT.value
    limit = 1 << width

    def set_bits(digits: str) -> None:
        raw.set_signal_val_binstr(deposit, digits)

    if width < _INT_BITS:
        def set_int(value: int) -> None:
            if not 0 <= value < limit:
                raise ValueError(f"{name} must be in [0, 2**{width}), not {value!r}")
            raw.set_signal_val_int(deposit, value)
    else:
        form = f"0{width}b"

        def set_int(value: int) -> None:
            if not 0 <= value < limit:
                raise ValueError(f"{name} must be in [0, 2**{width}), not {value!r}")
            raw.set_signal_val_binstr(deposit, format(value, form))
    return set_int, set_bits
