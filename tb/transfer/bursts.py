"""The bursts into which a region of GM must be cut."""

__all__ = ["expected_bursts", "longest_burst"]

_PAGE, _MOST_BEATS = 4096, 256


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
            length = min(left, (_PAGE - start % _PAGE) // size, _MOST_BEATS - start // size % _MOST_BEATS)
            out.append((start, length))
            start += length * size
            left -= length
    return out


def longest_burst(size: int) -> int:
    """Beats of the longest burst when a beat has ``size`` bytes."""
    return min(_PAGE // size, _MOST_BEATS)
