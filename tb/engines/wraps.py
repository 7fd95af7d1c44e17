"""The value of an address field that any narrower register would take for the first address of a buffer."""

from collections.abc import Iterator

__all__ = ["wraps"]


def wraps(depth: int, bits: int, *, base: int = 0) -> Iterator[int]:
    """The value of ``bits`` bits that added to ``base`` gives the largest power of two, if that is past the buffer.

    Cut by a bit or more, the sum is address 0: a command that must be at fault then runs.
    """
    power = 1 << (bits if base else bits - 1)
    if power >= depth:
        yield power - base
