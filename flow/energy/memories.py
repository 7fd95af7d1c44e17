"""Energy of the memories by words moved, from published figures: a line of its own, apart from the logic.

Source: M. Horowitz, "Computing's Energy Problem (and what we can do about it)", ISSCC 2014, figure 1.1.9: an access of
64 bits to a cache of 8 KiB takes 10 pJ, of 32 KiB 20 pJ, of 1 MiB 100 pJ, in 45 nm at 0.9 V. So the energy of a bit
grows about as the square root of the size, which is taken for smaller macros too; a write counts as a read.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from .parts import RamInstance

__all__ = ["SOURCE_NM", "SOURCE_V", "MemoryTraffic", "bit_energy", "enables", "scale", "traffic"]

SOURCE_NM, SOURCE_V = 45.0, 0.9

_BYTES, _BITS, _ENERGY = 8192, 64, 10.0


@dataclass(frozen=True, kw_only=True)
class MemoryTraffic:
    """What a run moved through a memory: its path in the core, bytes of it, and bits read and written."""

    path: str
    bytes: float
    read_bits: int
    written_bits: int

    @property
    def energy(self) -> float:
        """pJ, in the technology of the source."""
        return (self.read_bits + self.written_bits) * bit_energy(self.bytes)


def bit_energy(size: float) -> float:
    """pJ to read or write a bit of a macro of ``size`` bytes, in the technology of the source."""
    return _ENERGY / _BITS * sqrt(size / _BYTES)


def scale(nanometres: float, voltage: float) -> float:
    """Energy in a technology over that in the source's, by C · V² with C as the feature size: coarse."""
    return nanometres / SOURCE_NM * (voltage / SOURCE_V) ** 2


def enables(ram: RamInstance) -> list[str]:
    """Signals that tell of its traffic: the write enables, then the enable of each read port."""
    return [f"{ram.path}.w_en", *(f"{ram.path}.r{port}_en" for port in range(ram.reads))]


def traffic(rams: Iterable[RamInstance], words: Mapping[str, Sequence[int]]) -> list[MemoryTraffic]:
    """Traffic of a run; ``words``: of the bits of :func:`enables`, a bit's value in cycle t at bit t."""
    found = []
    for ram in rams:
        write, *reads = (words[name] for name in enables(ram))
        found.append(MemoryTraffic(
            path=ram.path, bytes=ram.words * ram.width / 8,
            read_bits=ram.width * sum(word.bit_count() for bits in reads for word in bits),
            written_bits=ram.width // ram.enables * sum(word.bit_count() for word in write)))
    return found
