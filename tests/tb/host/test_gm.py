"""Global memory, planned errors and traffic: pure Python."""

import numpy as np
import pytest
from amla.tb.host.gm import GlobalMemory, PlannedError, Response


def test_regions_read_and_write():
    memory = GlobalMemory()
    first = memory.add(0x1000, np.arange(64, dtype=np.uint16))
    memory.add(0x1080, bytes(16), name="next")
    assert list(memory.read(0x1002, 4)) == [1, 0, 2, 0]
    memory.write(0x1000, bytes([1, 2, 3, 4]), strobe=0b1010)
    assert list(first.data[:4]) == [0, 2, 1, 4]
    memory.write(0x1084, bytes([9]))
    assert memory.read(0x1084, 1)[0] == 9
    assert memory.find(0x107F, 2) is None, "a burst must not span two regions"
    with pytest.raises(KeyError, match="2 bytes at 0x107f are not mapped"):
        memory.read(0x107F, 2)


@pytest.mark.parametrize(("base", "data", "text"), [
    (0x1010, bytes(4), "region data must not overlap first, not 0x1010 to 0x1014"),
    (0xFFF, bytes(2), "must not overlap"), (-4, bytes(4), "must start at address 0 or above, not -4"),
    (0x2000, b"", "must hold at least one byte, not 0"),
])
def test_bad_regions(base, data, text):
    memory = GlobalMemory()
    memory.add(0x1000, bytes(32), name="first")
    with pytest.raises(ValueError, match=text):
        memory.add(base, data)


@pytest.mark.parametrize("address", [0x0FF0, 0x0FFF, 0x1100, 0x110F])
def test_guards_bite(address):
    memory = GlobalMemory()
    memory.add(0x1000, bytes(256), name="output", guard=16)
    memory.write(0x1000, bytes([1]) * 256)
    memory.check_guards()
    memory.write(address, bytes([memory.read(address, 1)[0] ^ 1]))
    side = "below" if address < 0x1000 else "above"
    with pytest.raises(AssertionError, match=f"guard {side} output: byte {address:#x}"):
        memory.check_guards()


def test_planned_errors_count_their_bursts():
    error = PlannedError(Response.SLVERR, burst=2)
    assert [error.take(0x1000 * i, 64) for i in range(5)] == [False, False, True, False, False]
    error = PlannedError(Response.SLVERR, burst=1, addresses=range(0x100, 0x200))
    bursts = [(0xC0, 64), (0x0, 0x101), (0x200, 64), (0x1FF, 1), (0x180, 4)]
    assert [error.take(*burst) for burst in bursts] == [False, False, False, True, False]
    error = PlannedError(Response.DECERR, addresses=range(0x100, 0x101))
    assert [error.take(0x100, 1), error.take(0x101, 8), error.take(0xF0, 32)] == [True, False, True]
