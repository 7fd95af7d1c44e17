"""The halfwords of a program in memory and the commands that they stand for; the format is that of ``rtl/isa.py``."""

from collections.abc import Iterable, Iterator

import numpy as np
from amla.rtl.isa import GIVEN, HALFWORD_BITS, HALFWORDS, reference

__all__ = ["TruncatedProgram", "pack", "packed_sizes", "unpack"]

_MASK = (1 << HALFWORD_BITS) - 1


class TruncatedProgram(ValueError):
    """A program ends within a command."""


def pack(words: Iterable[int]) -> np.ndarray:
    """The halfwords, uint16, of commands of 256 bits; each gives what differs from the last one of its reference."""
    halfwords, changed = _changed(words)
    halfwords[:, 1] = changed @ (1 << np.arange(GIVEN))
    return halfwords[np.insert(changed, 0, [[True], [True]], axis=1)]


def packed_sizes(words: Iterable[int]) -> np.ndarray:
    """Halfwords of each command of :func:`pack`, int64."""
    return 2 + _changed(words)[1].sum(axis=1)


def _changed(words: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
    """The halfwords of each command, uint16[n, HALFWORDS], and which of those behind the first two it gives."""
    size = HALFWORDS * HALFWORD_BITS // 8
    halfwords = np.frombuffer(bytearray(b"".join(word.to_bytes(size, "little") for word in words)), "<u2")
    halfwords = halfwords.reshape(-1, HALFWORDS)
    references, rest = reference(halfwords[:, 0]), halfwords[:, 2:]
    changed = np.empty(rest.shape, bool)
    for number in np.unique(references):
        own = np.flatnonzero(references == number)
        changed[own] = np.diff(rest[own], axis=0, prepend=np.uint16(0)) != 0
    return halfwords, changed


def unpack(halfwords: Iterable[int]) -> Iterator[int]:
    """The commands of 256 bits, each as one that gives all its halfwords.

    Raises
    ------
    TruncatedProgram: the halfwords end within a command.
    """
    last: dict[int, list[int]] = {}
    source = iter(halfwords)
    for index, head in enumerate(source):
        try:
            given = next(source)
            before = last.get(reference(head), [0] * GIVEN)
            rest = [next(source) if given >> i & 1 else old for i, old in enumerate(before)]
        except StopIteration:
            raise TruncatedProgram(f"the program ends within command {index}") from None
        last[reference(head)] = rest
        yield sum(halfword << HALFWORD_BITS * i for i, halfword in enumerate((head, (1 << GIVEN) - 1, *rest)))
