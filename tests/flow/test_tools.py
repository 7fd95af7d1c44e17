"""What is read from the tools' answers, and what the answers are for the units that the project's bars compare."""

import pytest
from amla.flow.tools import MULTIPLIERS, SynthError, emit_unit, map_cmos, read_clock, read_cmos, read_ecp5


def _stat(cells, transistors=None):
    """The part of yosys's ``stat -json`` that is read."""
    answer = {"creator": "Yosys 0.70", "design": {"num_cells": sum(cells.values()), "num_cells_by_type": cells}}
    if transistors is not None:
        answer["design"]["estimated_num_transistors"] = transistors
    return answer


@pytest.mark.smoke
def test_read_cmos():
    whole = _stat({"$_NAND_": 3, "$_DFF_P_": 5}, "92")
    assert read_cmos(whole, _stat({"$_NAND_": 3}, "12")) == {"transistors": 12, "flip_flops": 5}
    gates = _stat({"$_NAND_": 3}, "12")
    assert read_cmos(gates, gates) == {"transistors": 12, "flip_flops": 0}


@pytest.mark.smoke
def test_read_cmos_rejects_a_cell_without_a_count():
    gates = _stat({"$_NAND_": 3, "$_SDFF_PP0_": 1}, "12+")
    with pytest.raises(SynthError, match=r"must have a transistor count, not '12\+' of \$_NAND_, \$_SDFF_PP0_"):
        read_cmos(gates, gates)


@pytest.mark.smoke
def test_read_ecp5():
    assert read_ecp5(_stat({"LUT4": 10, "CCU2C": 3, "TRELLIS_FF": 7})) == {"lut4": 16}
    with pytest.raises(SynthError, match=r"cells must be among LUT4, .*, not DP16KD, MULT18X18D"):
        read_ecp5(_stat({"LUT4": 10, "MULT18X18D": 1, "DP16KD": 2}))


@pytest.mark.smoke
def test_read_clock():
    report = {"fmax": {"$glbnet$clk": {"achieved": 59.017940521240234, "constraint": 500}}, "utilization": {}}
    assert read_clock(report) == 59.017940521240234
    for clocks in {}, {"a": {"achieved": 1.0}, "b": {"achieved": 2.0}}:
        with pytest.raises(SynthError, match=r"must have one clock, not \["):
            read_clock({"fmax": clocks})


@pytest.mark.smoke
def test_emit_unit_rejects(tmp_path):
    with pytest.raises(ValueError, match=r"name must be one of rescale_0, .*, fdpa, not 'divider'"):
        emit_unit("divider", out=tmp_path)


@pytest.mark.smoke
def test_a_failing_tool_is_told_with_its_log(tmp_path):
    with pytest.raises(SynthError, match=r"(?s)yosys failed \(exit status 1\).*not found.*log: .*cmos.array.log"):
        map_cmos(tmp_path, "rescale_0", multiplier="array")


def test_rescale_against_the_multiplier(tmp_path):
    """The project's bars, met with the multiplier that yosys builds by default; Booth's is the harder one."""
    for name in "rescale_0", "rescale_2", "mul":
        emit_unit(name, out=tmp_path)
    rescale = {k: map_cmos(tmp_path, f"rescale_{k}", multiplier="array") for k in (0, 2)}
    multiplier = {way: map_cmos(tmp_path, "mul", multiplier=way) for way in MULTIPLIERS}
    assert rescale[0]["flip_flops"] == rescale[2]["flip_flops"] == 0 < multiplier["array"]["flip_flops"]
    assert multiplier["array"]["speed"] >= 15 * rescale[0]["speed"]
    assert multiplier["array"]["speed"] >= 10 * rescale[2]["speed"]
    assert multiplier["array"]["speed"] > multiplier["booth"]["speed"] > 9.5 * rescale[2]["speed"]
    for figures in *rescale.values(), *multiplier.values():
        assert figures["area"] < figures["speed"]
