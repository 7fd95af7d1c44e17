"""Bench of a feed-forward pipeline: one vector per cycle in, every output compared `latency` cycles later."""

import cocotb
import numpy as np
from amla.tb.fp.table import Operator, as_bytes, show
from amla.tb.signals import Pin, has_pin
from amla.tb.stream import CLOCK_NS, start_clock
from cocotb.triggers import RisingEdge, Timer

__all__ = ["stream"]


async def stream(dut, name: str, operator: Operator, count: int) -> None:
    """Drive ``count`` vectors at one per cycle through ``operator``, ``name`` of the design, and compare every result.

    Starts the clock; in a design without registers only time passes. Fails on the first mismatch, naming the
    vector, and when there is nothing to compare.
    """
    inputs, results = operator.case(name, np.random.default_rng(cocotb.RANDOM_SEED), count)
    columns = [(Pin(dut, port), _integers(words)) for port, words in inputs.items()]
    watched = [(Pin(dut, result.port), _integers(result.words), result.latency, result.port)
               for result in results]
    counts = {len(words) for _, words in columns} | {len(words) for _, words, _, _ in watched}
    assert counts == {count}, f"vectors and results must be {count} each, not {sorted(counts)!r}"
    assert count and watched, "no transaction to compare"
    edge: RisingEdge | Timer = Timer(CLOCK_NS, "ns")
    if has_pin(dut, "clk"):
        start_clock(dut)
        edge = RisingEdge(dut.clk)
    await edge
    for cycle in range(count + max(latency for _, _, latency, _ in watched) + 1):
        if cycle < count:
            for pin, words in columns:
                pin.set(words[cycle])
        await edge
        # Written after edge `cycle`, a vector is in the first registers after the next one; this read is of
        # the values before that edge.
        for pin, words, latency, port in watched:
            index = cycle - latency
            if 0 <= index < count and pin.get() != words[index]:
                vector = ", ".join(f"{name} = {show(words[index], pin.width)}"
                                   for name, (pin, words) in zip(inputs, columns, strict=True))
                raise AssertionError(f"{port}, vector {index} of {count}: {show(pin.get(), pin.width)}, "
                                     f"expected {show(words[index], pin.width)}; {vector}")


def _integers(words: np.ndarray) -> list[int]:
    return words.tolist() if words.ndim == 1 else [int.from_bytes(row.tobytes(), "little") for row in as_bytes(words)]
