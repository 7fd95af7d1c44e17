"""Global memory (GM) as the core sees it: byte regions at base addresses, guard bytes, planned errors.

No simulator in here: :class:`~amla.tb.host.axi.AxiMemory` answers AXI transactions from a :class:`GlobalMemory`.
"""

import enum
from dataclasses import dataclass

import numpy as np

__all__ = ["GlobalMemory", "PlannedError", "Region", "Response"]

_GUARD_SEED = 0xA31A


class Response(enum.IntEnum):
    """RRESP and BRESP."""

    OKAY = 0
    SLVERR = 2
    DECERR = 3


@dataclass
class Region:
    """Bytes ``data`` at address ``base``; ``name`` is for messages."""

    base: int
    data: np.ndarray
    name: str

    @property
    def limit(self) -> int:
        """First address past the region."""
        return self.base + len(self.data)


@dataclass
class PlannedError:
    """An error response to come: for one burst, counted from when it was planned, or for an address range.

    Attributes
    ----------
    response:  what is answered
    burst:     the burst it hits, 0 for the next one; None: every burst
    addresses: only bursts that touch this range; None: any
    beat:      read bursts only: the one beat in error, negative from the end; None: all of them
    """

    response: Response
    burst: int | None = None
    addresses: range | None = None
    beat: int | None = None

    def take(self, address: int, size: int) -> bool:
        """Whether a burst of ``size`` bytes at ``address`` is hit; counts it."""
        touches = self.addresses is None or (address < self.addresses.stop
                                             and address + size > self.addresses.start)
        if not touches:
            return False
        if self.burst is None:
            return True
        self.burst -= 1
        return self.burst == -1


class GlobalMemory:
    """Regions of bytes. An address in no region is not mapped: AXI answers DECERR.

    Members
    -------
    regions:      in the order they were added
    read_errors, write_errors: planned error responses
    """

    def __init__(self) -> None:
        self.regions: list[Region] = []
        self.read_errors: list[PlannedError] = []
        self.write_errors: list[PlannedError] = []
        self._guards: list[tuple[Region, np.ndarray]] = []

    def add(self, base: int, data: bytes | np.ndarray, *, name: str = "data", guard: int = 0) -> Region:
        """Map ``data`` (any array; its bytes are copied) at ``base``, ``guard`` bytes before and after it.

        Guard bytes hold a fixed pattern; :meth:`check_guards` fails when one has changed.

        Raises
        ------
        ValueError: the region is empty, starts below address 0, or overlaps another one.
        """
        content = np.frombuffer(bytes(data) if isinstance(data, bytes | bytearray)
                                else np.ascontiguousarray(data).tobytes(), np.uint8).copy()
        if not len(content):
            raise ValueError(f"region {name} must hold at least one byte, not {len(content)!r}")
        region = self._map(Region(base, content, name))
        if guard:
            for start, side in ((base - guard, "below"), (region.limit, "above")):
                pattern = np.random.default_rng(_GUARD_SEED + start).integers(0, 256, guard, np.uint8)
                self._guards.append(
                    (self._map(Region(start, pattern.copy(), f"guard {side} {name}")), pattern)
                )
        return region

    def clear(self) -> None:
        """Unmap everything and forget planned errors."""
        for part in (self.regions, self.read_errors, self.write_errors, self._guards):
            part.clear()

    def find(self, address: int, size: int) -> Region | None:
        """The region that holds all of [address, address + size), or None."""
        for region in self.regions:
            if region.base <= address and address + size <= region.limit:
                return region
        return None

    def read(self, address: int, size: int) -> np.ndarray:
        """View of ``size`` bytes; raises :class:`KeyError` when they are not mapped."""
        region = self.find(address, size)
        if region is None:
            raise KeyError(f"{size} bytes at {address:#x} are not mapped")
        return region.data[address - region.base:address - region.base + size]

    def write(self, address: int, data: bytes, strobe: int | None = None) -> None:
        """Store bytes; bit i of ``strobe`` enables byte i, None all of them."""
        target = self.read(address, len(data))
        source = np.frombuffer(data, np.uint8)
        if strobe is None:
            target[:] = source
        else:
            enabled = [i for i in range(len(data)) if strobe >> i & 1]
            target[enabled] = source[enabled]

    def check_guards(self) -> None:
        """Fail when a guard byte has changed; the message names the first one."""
        for region, pattern in self._guards:
            changed = np.flatnonzero(region.data != pattern)
            assert not len(changed), \
                f"{region.name}: byte {region.base + changed[0]:#x} is {region.data[changed[0]]:#04x}, " \
                f"was {pattern[changed[0]]:#04x} ({len(changed)} bytes changed)"

    def _map(self, region: Region) -> Region:
        if region.base < 0:
            raise ValueError(f"region {region.name} must start at address 0 or above, not {region.base!r}")
        for other in self.regions:
            if region.base < other.limit and other.base < region.limit:
                raise ValueError(f"region {region.name} must not overlap {other.name}, "
                                 f"not {region.base:#x} to {region.limit:#x}")
        self.regions.append(region)
        return region
