"""Energy of the memories: the published figures, and what a run moves."""

import pytest
from amla.flow.energy.memories import bit_energy, enables, scale, traffic
from amla.flow.energy.parts import RamInstance

pytestmark = pytest.mark.smoke


def test_published():
    """Of an access of 64 bits: 10 and 20 pJ; 100 at 1 MiB within a seventh."""
    assert 64 * bit_energy(8 << 10) == pytest.approx(10) and 64 * bit_energy(32 << 10) == pytest.approx(20)
    assert 64 * bit_energy(1 << 20) == pytest.approx(100, rel=1 / 7)
    assert scale(45, 0.9) == 1 and scale(180, 1.8) == pytest.approx(16)


def test_traffic():
    """A write moves its enabled grains, a read the word."""
    ram = RamInstance(path="cube.cells", words=64, width=128, enables=4, reads=1)
    assert enables(ram) == ["cube.cells.w_en", "cube.cells.r0_en"]
    moved, = traffic([ram], {"cube.cells.w_en": [0b1, 0b11, 0, 0], "cube.cells.r0_en": [0b10110]})
    assert (moved.bytes, moved.written_bits, moved.read_bits) == (1024, 3 * 32, 3 * 128)
    assert moved.energy == pytest.approx((3 * 32 + 3 * 128) * bit_energy(1024))
