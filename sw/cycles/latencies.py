# amaranth: UnusedElaboratable=no
"""What of a core's RTL the cycle model needs: sizes, and latencies as the components themselves give them."""

from functools import cache

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.fp.add import Add
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.fp.fixed import FromFixed
from amla.rtl.fp.mul import Dequantize
from amla.rtl.host.burst import RegionCheck
from amla.rtl.host.fp8_region import Fp8Region
from amla.rtl.host.listed_row import ListedRow
from amla.rtl.issue.sequencer import BYTES_AHEAD
from amla.rtl.softmax.lanes import AccumulateLane, VectorLane
from amla.rtl.softmax.merge_rows import MergeRows
from amla.rtl.softmax.merge_walk import MergeWalk
from amla.rtl.softmax.row_result import RowResult
from amla.rtl.softmax.row_sums import RowSums
from amla.rtl.softmax.row_update import RowUpdate
from amla.rtl.softmax.row_weight import RowWeight, slots

__all__ = ["CORE", "core_of"]

#: A core's sizes and latencies, in cycles.
_NAMES = (
    "m", "state_words", "beat_bytes", "beat_elements", "queue_depth", "in_flight", "block_beats", "fetch_depth",
    "feed_group", "cube", "drain_groups", "drain", "drain_o", "vector_p", "row_update", "row_result", "row_sink",
    "slots", "merge_group", "merge_sink", "merge_turn", "merge_run", "merge_words", "merge_end", "product",
    "softmax", "normalize", "settle", "settle_fp8", "listed", "dequantize")
CORE = np.dtype([(name, np.int64) for name in _NAMES])


@cache
def core_of(config: CoreConfig) -> np.ndarray:
    """The record [1] of a core."""
    lane, merge = VectorLane(mode=config.mode), MergeRows(config)
    accumulate = AccumulateLane(mode=config.mode, comp_bits=config.comp_bits).latency
    maximum = max((config.lanes - 1).bit_length(), 1)
    settle = RegionCheck.settle + 1
    values = {
        "m": config.m, "state_words": config.state_words,
        "beat_bytes": config.axi_data_bytes, "beat_elements": config.beat_elements,
        "queue_depth": config.queue_depth, "in_flight": config.axi_in_flight_bytes // config.axi_data_bytes,
        "block_beats": min(4096 // config.axi_data_bytes, 256), "fetch_depth": BYTES_AHEAD // config.axi_data_bytes,
        "feed_group": config.k // config.n,
        "cube": Fdpa.latency,
        "drain_groups": config.n // config.lanes,
        "drain": max(accumulate, maximum) + 2,
        "drain_o": accumulate + 2,
        "vector_p": lane.latency + 3,
        "row_update": RowUpdate(config).latency, "row_result": RowResult().latency,
        "row_sink": 1 + RowWeight(config.m).latency,
        "slots": slots(config.m), "merge_group": merge.group_latency, "merge_sink": merge.sink_latency,
        "merge_turn": VectorLane.turn, "merge_run": MergeWalk(config).run, "merge_words": MergeWalk(config).words,
        "merge_end": MergeWalk.latency + VectorLane.product_latency + 1, "product": VectorLane.product_latency,
        "softmax": lane.latency + RowSums(config.m, config.lanes).latency + FromFixed.latency + Add.latency
        + config.m + 2,
        "normalize": VectorLane.product_latency + 2,
        "settle": settle, "settle_fp8": settle + Fp8Region.latency,
        "listed": ListedRow(address_bits=config.axi_address_bits, data_bytes=config.axi_data_bytes).latency,
        "dequantize": Dequantize.latency,
    }
    return np.array([tuple(values[name] for name in _NAMES)], CORE)
