"""The compiled driver on a design of ports of every type, and that it notices what is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amla.tb.fp.compiled import run_compiled
from amla.tb.fp.table import Operator
from amla.tb.runner import BenchError

WIDTHS = (1, 8, 9, 16, 17, 32, 33, 64, 80, 256)
COUNT = 500


class Inverters(wiring.Component):
    """Every input inverted: ``y<width>`` two cycles later, ``now`` at once."""

    latency = 2
    at_once = 0

    def __init__(self):
        super().__init__({f"a{width}": In(width) for width in WIDTHS} | {f"y{width}": Out(width) for width in WIDTHS}
                         | {"now": Out(9)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.now.eq(~self.a9)
        for width in WIDTHS:
            once = Signal(width, name=f"once{width}")
            m.d.sync += [once.eq(~getattr(self, f"a{width}")), getattr(self, f"y{width}").eq(once)]
        return m


def _vectors(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    def words(width):
        if width > 64:
            return rng.integers(0, 1 << 16, (count, width // 16), dtype=np.uint16)
        return rng.integers(0, 1 << width, count, dtype=np.uint64)
    return {f"a{width}": words(width) for width in WIDTHS}


def _golden(*words: np.ndarray) -> dict[str, np.ndarray]:
    def inverted(width, word):
        return ~word if width > 64 else ~word & np.uint64((1 << width) - 1)
    out = {f"y{width}": inverted(width, word) for width, word in zip(WIDTHS, words, strict=True)}
    return out | {"now": out["y9"]}


INVERTERS = Operator(make=Inverters, vectors=_vectors, golden=_golden, latencies={"now": "at_once"})


def _run(**changes):
    run_compiled({"inverters": replace(INVERTERS, **changes)}, name="inverters_compiled", count=COUNT)


def test_every_width():
    _run()


@pytest.mark.parametrize("port", ["y1", "y33", "y256", "now"])
def test_a_wrong_result_is_named(port):
    def golden(*words):
        out = _golden(*words)
        out[port][[7, 20]] ^= out[port].dtype.type(1)
        return out if port != "now" else _golden(*words) | {"now": out["now"]}

    with pytest.raises(BenchError, match=rf"^inverters_{port}, 2 of 500 wrong, vector 7: 0x.*, expected 0x.*a256 = 0x"):
        _run(golden=golden)


@pytest.mark.parametrize("latency", ["at_once", "three"])
def test_another_latency_is_noticed(latency, monkeypatch):
    monkeypatch.setattr(Inverters, "three", 3, raising=False)
    with pytest.raises(BenchError, match=r"inverters_y80, 500 of 500 wrong, vector 0"):
        _run(latencies={"now": "at_once", "y80": latency})


def test_vectors_must_fit_their_port():
    def vectors(rng, count):
        return _vectors(rng, count) | {"a80": np.ones((count, 6), dtype=np.uint16)}
    with pytest.raises(ValueError, match="words of inverters_a80 must fit its 80 bits"):
        _run(vectors=vectors)


def test_every_port_needs_vectors_and_results():
    with pytest.raises(AssertionError, match="every port must have its vectors or results"):
        _run(golden=lambda *words: {"now": _golden(*words)["now"]})


def test_nothing_is_no_pass():
    with pytest.raises(AssertionError, match="vectors and results must be 0 each"):
        run_compiled({"inverters": INVERTERS}, name="inverters_compiled", count=0)
