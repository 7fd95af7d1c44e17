"""Bench of a feed-forward pipeline: one vector per cycle in, every output compared `latency` cycles later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from amla.tb.signals import Pin, has_pin
from amla.tb.stream import CLOCK_NS, start_clock
from cocotb.triggers import RisingEdge, Timer

__all__ = ["Result", "stream"]


@dataclass(frozen=True)
class Result:
    """What output ``port`` must be, ``latency`` cycles after each vector."""

    port: str
    words: Sequence[int]
    latency: int


async def stream(dut, inputs: Mapping[str, Sequence[int]], results: Sequence[Result]) -> None:
    """Drive ``inputs`` (vectors per port, all of one length) at one per cycle and compare every result.

    Starts the clock; in a design without registers only time passes. Fails on the first mismatch, naming the
    vector, and when there is nothing to compare.
    """
    columns = [(Pin(dut, port), _integers(words)) for port, words in inputs.items()]
    watched = [(Pin(dut, result.port), _integers(result.words), result.latency, result.port)
               for result in results]
    counts = {len(words) for _, words in columns} | {len(words) for _, words, _, _ in watched}
    assert len(counts) == 1, f"vectors and results must be equally many, not {sorted(counts)!r}"
    count = counts.pop()
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


def _integers(words: Sequence[int]) -> list[int]:
    return words.tolist() if isinstance(words, np.ndarray) else list(words)


def show(word: int, width: int) -> str:
    """A word in hex and, if it is as wide as an FP32 or BF16 word, as the number it stands for."""
    text = f"{word:#0{2 + -(-width // 4)}x}"
    if width not in (16, 32):
        return text
    value = np.array(word << 16 if width == 16 else word, dtype=np.uint32).view(np.float32)
    return f"{text} ({value:.9g})"
