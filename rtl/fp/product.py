"""Long multiplications in two stages: one operand times each digit of the other, then the sum of these products."""

from functools import reduce
from operator import add

from amaranth import C, Cat, Module, Value

from .nets import register

__all__ = ["DIGIT_BITS", "product"]

#: Bits of a digit: so that in a cell library its product takes about as long as the sum of the products.
DIGIT_BITS = 4


def product(m: Module, a: Value, b: Value, *, name: str) -> Value:
    """a·b of unsigned numbers, but for its last addition: the sum of registers, a cycle later.

    What else is added to it, in the expression that it becomes a part of, takes hardly longer.
    """
    if len(a) < len(b):
        a, b = b, a
    digits = range(0, len(b), DIGIT_BITS)
    return reduce(add, (Cat(C(0, low), register(m, a * b[low:low + DIGIT_BITS], name=f"{name}_{low}"))
                        for low in digits))
