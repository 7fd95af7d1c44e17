"""What is read from the answers of the tools for ECP5."""

import pytest
from amla.flow.ecp5 import Registered, read_clock, read_ecp5
from amla.flow.tools import FlowError
from amla.rtl.rescale import Rescale

pytestmark = pytest.mark.smoke


def _stat(cells):
    """The part of yosys's ``stat -json`` that is read."""
    return {"creator": "Yosys 0.70", "design": {"num_cells": sum(cells.values()), "num_cells_by_type": cells}}


def test_read_ecp5():
    assert read_ecp5(_stat({"LUT4": 10, "CCU2C": 3, "TRELLIS_FF": 7})) == {"lut4": 16}
    with pytest.raises(FlowError, match=r"cells must be among LUT4, .*, not DP16KD, MULT18X18D"):
        read_ecp5(_stat({"LUT4": 10, "MULT18X18D": 1, "DP16KD": 2}))


def test_read_clock():
    report = {"fmax": {"$glbnet$clk": {"achieved": 59.017940521240234, "constraint": 500}}, "utilization": {}}
    assert read_clock(report) == 59.017940521240234
    for clocks in {}, {"a": {"achieved": 1.0}, "b": {"achieved": 2.0}}:
        with pytest.raises(FlowError, match=r"must have one clock, not \["):
            read_clock({"fmax": clocks})


def test_a_registered_unit_has_four_pins():
    unit = Registered(Rescale(comp_bits=0))
    unit._MustUse__silence = unit.inner._MustUse__silence = True
    assert set(unit.signature.members) == {"serial_in", "load", "serial_out"}
