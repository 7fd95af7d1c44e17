"""The halfwords of a program in memory and the commands that they stand for; the format is that of ``rtl/isa.py``."""

from collections.abc import Iterable, Iterator

from amla.rtl.isa import GIVEN, HALFWORD_BITS, HALFWORDS, reference

__all__ = ["TruncatedProgram", "pack", "unpack"]

_MASK = (1 << HALFWORD_BITS) - 1


class TruncatedProgram(ValueError):
    """A program ends within a command."""


def pack(words: Iterable[int]) -> Iterator[int]:
    """The halfwords of commands of 256 bits; each gives what differs from the last one of its reference."""
    last: dict[int, list[int]] = {}
    for word in words:
        head, _, *rest = (word >> HALFWORD_BITS * i & _MASK for i in range(HALFWORDS))
        before = last.get(reference(head), [0] * GIVEN)
        last[reference(head)] = rest
        changed = [new != old for new, old in zip(rest, before, strict=True)]
        yield head
        yield sum(1 << i for i, change in enumerate(changed) if change)
        yield from (halfword for halfword, change in zip(rest, changed, strict=True) if change)


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
