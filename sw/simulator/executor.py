"""The commands inside the core, on its buffers: everything but the traffic with GM."""

import numpy as np
from amla.model.attention.accumulate import accumulate, normalize, reciprocal_and_lse
from amla.model.attention.softmax import RowState, row_maximum, softmax_tile, valid_columns
from amla.model.attention.split_kv import end_factors, merge_factors, weighted_sum
from amla.model.fp.convert import narrow
from amla.model.fp.fdpa import matmul
from amla.model.fp.formats import FP32, OPERANDS
from amla.model.numerics import Numerics
from amla.rtl.config import CoreConfig

from ..compiler.footprint import Footprint, buffer_words
from ..compiler.program import Command

__all__ = ["Executor"]

#: Buffers of 16-bit words, in the formats of Q and KV, P and the output; the others hold 32-bit words.
_OPERANDS = ("L1", "L0A", "L0B", "OUT")


class Executor:
    """A core's buffers, NaN at first, and the commands that work between them, one method per opcode.

    Parameters
    ----------
    config:     the core
    scale_word: FP32 word of softmax_scale * log2(e)

    Attributes
    ----------
    buffers: array of words per buffer, with the layouts of ``docs/architecture.md``
    """

    def __init__(self, config: CoreConfig, *, scale_word: int):
        self._config, self._scale, self._format = config, scale_word, OPERANDS[config.format]
        self._p_format = Numerics(p_format=config.p_format).format_of_p(self._format)
        nan16, nan32 = (self._format.quiet_nan, np.uint16), (FP32.quiet_nan, np.uint32)
        m, n, k, lanes = config.m, config.n, config.k, config.lanes
        shapes = {
            "L1": (max(m, n), k), "L0A": (m, k), "L0B": (n, k), "L0C": (m, n), "S": (m, lanes),
            "ROWMAX": (m,), "OFFSETS": (m, 1 << config.comp_bits), "O": (m, lanes), "LSE": (m,),
            "OUT": (config.beat_elements // lanes, m, lanes), "SINK": (m,),
        }
        depths = buffer_words(config)
        self.buffers = {
            name: np.full((depths[name], *shape), *(nan16 if name in _OPERANDS else nan32))
            for name, shape in shapes.items()
        }
        self._state = {name: np.full((depths["STATE"], m), *nan32) for name in ("m", "c", "l", "L", "R")}

    def execute(self, command: Command, touched: Footprint) -> None:
        """Execute one command whose addresses have been checked."""
        getattr(self, f"_{command.opcode.name.lower()}")(command, touched)

    def _feed_a(self, c: Command, touched: Footprint) -> None:
        self.buffers["L0A"][touched.writes["L0A"]] = self.buffers["L1"][touched.reads["L1"],
                                                                          :self._config.m]

    def _feed_b(self, c: Command, touched: Footprint) -> None:
        n, k = self._config.n, self._config.k
        data = self.buffers["L1"][touched.reads["L1"], :n]
        if "transpose" in c.flags:  # [outer, inner, group, row, column] -> columns in groups of n, then keys
            outer, inner = data.shape[:2]
            data = data.reshape(outer, inner, k, k).swapaxes(2, 3).reshape(outer, inner, k // n, n, k)
        self.buffers["L0B"][touched.writes["L0B"]] = data

    def _mmad(self, c: Command, touched: Footprint) -> None:
        a = self.buffers["L0A"][touched.reads["L0A"]]  # [kt, mt, m, k]
        b = self.buffers["L0B"][touched.reads["L0B"]]
        places = touched.writes["L0C"]
        start = self._matrix(self.buffers["L0C"][places]) if "accumulate" in c.flags else None
        result = matmul(_operand(a), _operand(b), k=self._config.k,
                        acc_frac_bits=self._config.acc_frac_bits, c=start, format=self._format,
                        a_format=self._p_format if "weights" in c.flags else self._format)
        self.buffers["L0C"][places] = self._tiles(result, self._config.n)

    def _drain_s(self, c: Command, touched: Footprint) -> None:
        scores = self._matrix(self.buffers["L0C"][touched.reads["L0C"]])
        self.buffers["S"][touched.writes["S"]] = self._tiles(scores, self._config.lanes)
        places = touched.writes["ROWMAX"]
        maxima = row_maximum(scores, self._valid(c, len(scores)))
        if "first" not in c.flags:
            former = np.stack([self.buffers["ROWMAX"][places].reshape(-1), maxima], axis=1)
            maxima = row_maximum(former, np.full(len(former), 2, np.int64))
        self.buffers["ROWMAX"][places] = maxima.reshape(len(places), -1)

    def _drain_o(self, c: Command, touched: Footprint) -> None:
        product = self._matrix(self.buffers["L0C"][touched.reads["L0C"]])
        places, first = touched.writes["O"], "first" in c.flags
        output = self._matrix(self.buffers["O"][places])
        segments = 1 << self._config.comp_bits
        offsets = np.zeros((len(product), segments), np.uint32)
        if not first:
            offsets[:] = self.buffers["OFFSETS"][touched.reads["OFFSETS"]].reshape(-1, segments)
        accumulate(output, product, offsets, first=first, mode=self._config.mode,
                   comp_bits=self._config.comp_bits)
        self.buffers["O"][places] = self._tiles(output, self._config.lanes)

    def _softmax(self, c: Command, touched: Footprint) -> None:
        scores = self._matrix(self.buffers["S"][touched.reads["S"]])
        places = touched.writes["STATE"]
        state = RowState(**{name: self._state[name][places].reshape(-1) for name in ("m", "c", "l", "L")})
        rowmax = self.buffers["ROWMAX"][touched.reads["ROWMAX"]].reshape(-1)
        p, offsets = softmax_tile(
            scores, self._valid(c, len(scores)), rowmax, state, scale_word=self._scale,
            first="first" in c.flags, mode=self._config.mode, comp_bits=self._config.comp_bits,
            format=self._p_format,
        )
        for name in ("m", "c", "l", "L"):
            self._state[name][places] = getattr(state, name).reshape(len(places), -1)
        offsets = offsets.reshape(len(places), -1, offsets.shape[1])
        self.buffers["OFFSETS"][touched.writes["OFFSETS"]] = offsets
        self.buffers["L1"][touched.writes["L1"], :self._config.m] = self._tiles(p, self._config.k)

    def _normalize(self, c: Command, touched: Footprint) -> None:
        places = touched.reads["STATE"]
        if "first" in c.flags:
            state = RowState(**{name: self._state[name][places].reshape(-1) for name in ("m", "c", "l", "L")})
            sinks = self.buffers["SINK"][touched.reads["SINK"]].reshape(-1) if "sinks" in c.flags else None
            factor, lse = reciprocal_and_lse(state, mode=self._config.mode, sinks=sinks)
            self._state["R"][places] = factor.reshape(len(places), -1)
            self.buffers["LSE"][touched.writes["LSE"]] = lse.reshape(len(places), -1)
        rows = self._matrix(self.buffers["O"][touched.reads["O"]])
        self._output(normalize(rows, self._state["R"][places].reshape(-1)), touched, wide="wide" in c.flags)

    def _merge(self, c: Command, touched: Footprint) -> None:
        first = "first" in c.flags
        places = (touched.writes if first else touched.reads)["STATE"]  # [split, and one more, row group]
        if first:
            words = self.buffers["SINK"][touched.reads["SINK"]].reshape(len(touched.reads["SINK"]), -1)
            factors, lse = merge_factors(words[:c["splits"]])
            last = end_factors(lse, words[c["splits"]] if "sinks" in c.flags else None)
            self._state["R"][places] = np.vstack([factors, last]).reshape(*places.shape, -1)
            self.buffers["LSE"][touched.writes["LSE"]] = lse.reshape(c["mt"], -1)
        *factors, last = self._state["R"][places].reshape(len(places), -1)
        words = self.buffers["L1"][touched.reads["L1"], :self._config.m]  # [row group, split, word, m, k]
        parts = words.transpose(1, 0, 3, 2, 4).reshape(c["splits"], len(last), -1).view(np.uint32)
        self._output(normalize(weighted_sum(parts, np.stack(factors)), last), touched)

    def _output(self, rows: np.ndarray, touched: Footprint, *, wide: bool = False) -> None:
        """Rows of FP32 words into OUT, rounded or, ``wide``, as halfwords."""
        places = touched.writes["OUT"]
        words = rows.view(np.uint16) if wide else narrow(rows, self._format)
        columns = places.shape[1] * self._config.beat_elements  # half a lane group less, if FP32 takes two beats
        tiles = self._tiles(np.ascontiguousarray(words[:, :columns]), self._config.lanes)  # [mt, lane group, m, lanes]
        self.buffers["OUT"][places] = tiles.reshape(*places.shape, -1, *tiles.shape[2:])

    def _valid(self, c: Command, rows: int) -> np.ndarray:
        return valid_columns(rows, c["limit"], c["heads"], c["head0"])

    def _matrix(self, tiles: np.ndarray) -> np.ndarray:
        """[row group, column group, m, columns] -> [row, column]"""
        return np.ascontiguousarray(tiles.swapaxes(1, 2)).reshape(tiles.shape[0] * tiles.shape[2], -1)

    def _tiles(self, matrix: np.ndarray, columns: int) -> np.ndarray:
        """[row, column] -> [row group, column group, m, columns]"""
        m = self._config.m
        return matrix.reshape(len(matrix) // m, m, -1, columns).swapaxes(1, 2)


def _operand(fractals: np.ndarray) -> np.ndarray:
    """[k-step, tile, row, k] -> [row, k-step and k]"""
    return np.ascontiguousarray(fractals.transpose(1, 2, 0, 3)).reshape(fractals.shape[1] * fractals.shape[2],
                                                                        -1)
