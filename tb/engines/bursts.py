"""The bursts into which a region of GM must be cut."""

__all__ = ["expected_bursts"]


def expected_bursts(*, address: int, pitch: int, rows: int, beats: int, size: int) -> list[tuple[int, int]]:
    """(address, beats) of every burst of ``rows`` rows of ``beats`` beats of ``size`` bytes, in order.

    Adjacent rows are one run; a run is cut at multiples of 4 KiB and of 256 beats.
    """
    runs = [(address + row * pitch, beats) for row in range(rows)]
    if rows and pitch == beats * size:
        runs = [(address, rows * beats)]
    out = []
    for start, left in runs:
        while left:
            length = min(left, (4096 - start % 4096) // size, 256 - start // size % 256)
            out.append((start, length))
            start += length * size
            left -= length
    return out
