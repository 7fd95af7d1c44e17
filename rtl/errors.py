"""The one error that a user of the tools sees, and how it shows a value."""

import reprlib
from typing import Any

__all__ = ["AmlaError", "reason", "shown"]

#: From so many bits on an integer is told by its size. (Python writes out at most 4,300 digits.)
_LONG_BITS = 256


class AmlaError(Exception):
    """What the user gave, or the place it runs in, is wrong: one line that names the thing, the rule and the value.

    ``status`` is what a command then ends with.
    """

    status = 2


class _Repr(reprlib.Repr):
    """``repr`` of bounded length: a YAML file of one line can hold a value whose ``repr`` fills the memory."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < _LONG_BITS else f"an integer of {x.bit_length():,} bits"


def shown(value: Any) -> str:
    """``value`` as a message shows it."""
    return _Repr().repr(value)


def reason(error: Exception) -> str:
    """What the system said, without its number."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
