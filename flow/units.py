# amaranth: UnusedElaboratable=no
"""What is priced: arithmetic units by themselves, the parts of a core of configuration `tiny`, whole cores."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring
from amla.rtl.cluster.interconnect import Interconnect
from amla.rtl.config import CoreConfig
from amla.rtl.core import AmlaCore
from amla.rtl.engines.cube import Cube
from amla.rtl.engines.drain import Drain
from amla.rtl.engines.feed import Feed
from amla.rtl.engines.load import Load
from amla.rtl.engines.store import Store
from amla.rtl.engines.vector import Vector
from amla.rtl.fp.add import Add
from amla.rtl.fp.exp2 import Exp2
from amla.rtl.fp.fdpa import Fdpa
from amla.rtl.fp.log2 import Log2
from amla.rtl.fp.mul import Dequantize, Mul
from amla.rtl.fp.recip import Recip
from amla.rtl.fp.word import BF16, U6_10
from amla.rtl.host.dequantizer import Dequantizer
from amla.rtl.host.row_gather import RowGather
from amla.rtl.host.row_source import RowSource
from amla.rtl.isa import MOST_ROWS
from amla.rtl.issue.sequencer import Sequencer
from amla.rtl.rescale import Rescale
from amla.rtl.softmax.lanes import AccumulateLane, VectorLane
from amla.rtl.softmax.merge_rows import MergeRows
from amla.rtl.softmax.merge_walk import MergeWalk
from amla.rtl.softmax.row_result import RowResult
from amla.rtl.softmax.row_update import RowUpdate
from amla.rtl.softmax.row_weight import RowWeight

__all__ = ["CORES", "DESIGNS", "ON_ECP5", "PARTS", "QUICK", "TARGET_FO4", "UNITS", "Unit"]


#: No path between registers is to be longer.
TARGET_FO4 = 30.0


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A design to price.

    Attributes
    ----------
    title:  its name for people
    make:   makes the component
    linked: its lanes and dot units are mapped once each, and linked: for what is too large to be mapped as one
    """

    title: str
    make: Callable[[], wiring.Component]
    linked: bool = False


def _rescale(comp_bits: int) -> Unit:
    return Unit(title=f"rescale unit, comp_bits {comp_bits}", make=lambda: Rescale(comp_bits=comp_bits))


def _of_tiny(title: str, component: Callable[[CoreConfig], wiring.Component]) -> Unit:
    return Unit(title=f"{title} (tiny)", make=lambda: component(CoreConfig.load("tiny")))


#: Arithmetic by name, in the order of the report. The ``mul`` lane's offset is one word, so it has ``comp_bits`` 0.
UNITS = {
    **{f"rescale_{comp_bits}": _rescale(comp_bits) for comp_bits in range(4)},
    "add": Unit(title="FP32 adder", make=Add),
    "mul": Unit(title="FP32 multiplier", make=Mul),
    "dequantize": Unit(title="FP8 (e4m3) by FP32 to BF16", make=Dequantize),
    "lane_amla": Unit(title="accumulate lane, amla, comp_bits 0",
                      make=lambda: AccumulateLane(mode="amla", comp_bits=0)),
    "lane_mul": Unit(title="accumulate lane, mul", make=lambda: AccumulateLane(mode="mul", comp_bits=0)),
    "exp2": Unit(title="exp2", make=Exp2),
    "log2": Unit(title="log2", make=Log2),
    "recip": Unit(title="recip", make=Recip),
    "vector_lane": Unit(title="vector lane, amla", make=lambda: VectorLane(mode="amla")),
    "vector_lane_operand": Unit(title="vector lane, amla, P in BF16",
                                make=lambda: VectorLane(mode="amla", p_format=BF16)),
    "fdpa": Unit(title="dot unit, k = 16", make=lambda: Fdpa(k=16, acc_frac_bits=30, p_format=U6_10)),
    "fdpa_operand": Unit(title="dot unit, k = 16, P in BF16", make=lambda: Fdpa(k=16, acc_frac_bits=30)),
}

#: Parts of a core of configuration ``tiny``.
PARTS = {
    "row_update": _of_tiny("row update", RowUpdate),
    "row_result": Unit(title="row result", make=RowResult),
    "row_weight": Unit(title="attention sink or split of a row (m = 4)", make=lambda: RowWeight(4)),
    "merge_rows": _of_tiny("row pass of a merge", MergeRows),
    "merge_walk": _of_tiny("walk of a merge", MergeWalk),
    "dequantizer": _of_tiny("FP8 rows to BF16", lambda config: Dequantizer(
        data_bytes=config.axi_data_bytes, max_rows=MOST_ROWS)),
    "row_gather": _of_tiny("rows by a list", lambda config: RowGather(
        RowSource(data_bytes=config.axi_data_bytes, max_rows=MOST_ROWS, requests=MOST_ROWS),
        address_bits=config.axi_address_bits, data_bytes=config.axi_data_bytes)),
    "cube": _of_tiny("cube engine", Cube),
    "drain": _of_tiny("drain engine", Drain),
    "vector": _of_tiny("vector engine", Vector),
    "feed": _of_tiny("feed engine", Feed),
    "load": _of_tiny("load engine", Load),
    "store": _of_tiny("store engine", Store),
    "sequencer": _of_tiny("sequencer", Sequencer),
    "interconnect": _of_tiny("interconnect of 4 cores", lambda config: Interconnect(
        config.axi_address_bits, 8 * config.axi_data_bytes, 4)),
}

#: Whole cores; their memories are black boxes.
CORES = {
    "tiny": _of_tiny("core", AmlaCore),
    "small": Unit(title="core (small)", make=lambda: AmlaCore(CoreConfig.load("small")), linked=True),
}

DESIGNS = {**UNITS, **PARTS, **CORES}

#: Units that a second opinion is asked of.
ON_ECP5 = ("rescale_0", "rescale_2", "mul", "lane_amla", "lane_mul")

#: The units that changed most, or are compared most: minutes.
QUICK = ("rescale_0", "rescale_2", "add", "mul", "lane_amla", "lane_mul", "exp2", "fdpa")
