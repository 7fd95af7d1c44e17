"""FlashMLA's own cuts: a batch packed into as many partitions as its GPU has for it.

Known from its sources and equal to every recorded table. The cost of a request is its blocks of 64 keys, at least one,
and 5 more for what each of its splits costs in any case. A partition takes requests from where the last one stopped, up
to the mean cost and 5: whole ones as long as they fit; of the next one so many blocks as 5 leave room for.
"""

import numpy as np

__all__ = ["partition"]

_BLOCK = 64
#: What a split costs beyond its blocks, in blocks.
_OVERHEAD = 5


def partition(lengths: list[int], sm_parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Table and split counts as FlashMLA's scheduler makes them, in the layout of 2026.

    Parameters
    ----------
    lengths:  keys of each request, at least one request
    sm_parts: partitions

    Returns
    -------
    table:  int32[sm_parts, 8]
    counts: int32[len(lengths) + 1]
    """
    sizes = [max(-(-length // _BLOCK), 1) for length in lengths]
    share = -(-sum(size + _OVERHEAD for size in sizes) // sm_parts) + _OVERHEAD
    table = np.zeros((sm_parts, 8), np.int32)
    counts = [0]
    request = block = split = 0  # the next work
    for row in table:
        begin, begin_block, begin_split, room = request, block, split, share
        while request < len(sizes) and room >= sizes[request] - block + _OVERHEAD:
            room -= sizes[request] - block + _OVERHEAD
            counts.append(counts[-1] + split + 1)
            request, block, split = request + 1, 0, 0
        if request < len(sizes) and room > _OVERHEAD:
            block, split = block + room - _OVERHEAD, split + 1
        cut = block > 0
        last = request if cut else request - 1
        end_block = block if cut else -(-lengths[last] // _BLOCK)
        first_is_split = begin_block > 0 or (cut and begin == last)
        last_is_split = cut or (begin_block > 0 and begin == last)
        if begin == len(sizes):  # no work: the kernel reads one place past its array, where this number stands
            begin_block = sizes[0] - 1
        row[:] = begin, last, begin_block, end_block, begin_split, first_is_split, last_is_split, 0
    return table, np.array(counts, np.int32)
