"""Entries of the tables of operators: a design, its vectors and its golden twin, for whichever driver streams them.

Tables of operators: ``tb/fp/operators.py``, ``tb/fp/dot_units.py``, ``tb/rescale.py``, ``tb/softmax/lanes.py``.
Drivers: ``tb/fp/pipeline.py`` (cocotb) and ``tb/fp/compiled.py`` (C++). A variant of an operator is one more entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from amaranth import Module
from amaranth.lib import wiring

__all__ = ["Operator", "Result", "SideBySide", "as_bytes", "show", "side_by_side", "single"]


@dataclass(frozen=True)
class Result:
    """What output ``port`` must be, ``latency`` cycles after each vector."""

    port: str
    words: np.ndarray
    latency: int


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One operator: a feed-forward pipeline that takes a vector per cycle.

    Attributes
    ----------
    make:      makes the component
    vectors:   (generator, count) → words of each input port, ``count`` of them: an integer array [count], or
               [count, elements] for a port that packs elements, element 0 in the low bits
    golden:    the input ports' words, in the order of ``vectors`` → words of each output port
    latencies: attribute of the component that holds an output's latency, where that is not ``latency``
    """

    make: Callable[[], wiring.Component]
    vectors: Callable[[np.random.Generator, int], dict[str, np.ndarray]]
    golden: Callable[..., dict[str, np.ndarray]]
    latencies: Mapping[str, str] = field(default_factory=dict)

    def case(self, name: str, rng: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], list[Result]]:
        """``count`` vectors and what must come out, under the port names of :class:`SideBySide`."""
        vectors = self.vectors(rng, count)
        component = self.make()
        component._MustUse__silence = True  # only asked for its latencies
        results = [Result(f"{name}_{port}", words, getattr(component, self.latencies.get(port, "latency")))
                   for port, words in self.golden(*vectors.values()).items()]
        return {f"{name}_{port}": words for port, words in vectors.items()}, results


def single(function: Callable) -> Callable[..., dict[str, np.ndarray]]:
    """The golden twin of a component whose one output is ``y``."""
    return lambda *words: {"y": function(*words)}


class SideBySide(wiring.Component):
    """Components that share nothing but the clock; port ``p`` of component ``c`` is ``c_p``."""

    def __init__(self, components: Mapping[str, wiring.Component]):
        self._components = components
        super().__init__({f"{name}_{port}": member for name, component in components.items()
                          for port, member in component.signature.members.items()})

    def elaborate(self, platform):
        m = Module()
        m.submodules += self._components.values()
        for name, component in self._components.items():
            for port, member in component.signature.members.items():
                inner, outer = getattr(component, port), getattr(self, f"{name}_{port}")
                m.d.comb += inner.eq(outer) if member.flow is wiring.In else outer.eq(inner)
        return m


def side_by_side(operators: Mapping[str, Operator]) -> SideBySide:
    """One design of all ``operators``, so that one build serves all their benches."""
    return SideBySide({name: operator.make() for name, operator in operators.items()})


def as_bytes(words: np.ndarray) -> np.ndarray:
    """Each vector's word, its elements packed, as a row of little-endian bytes: [count, bytes]."""
    words = np.ascontiguousarray(words)
    little = words.astype(words.dtype.newbyteorder("<"), copy=False)
    return little.view(np.uint8).reshape(len(words), -1)


def show(word: int, width: int) -> str:
    """A word in hex and, if it is as wide as an FP32 word, as the number it stands for."""
    text = f"{word:#0{2 + -(-width // 4)}x}"
    return text if width != 32 else f"{text} ({np.array(word, dtype=np.uint32).view(np.float32):.9g})"
