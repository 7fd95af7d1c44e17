"""Our benches on RTL from elsewhere, as docs/verification.md says: a rescale unit in SystemVerilog, right and wrong."""

import pytest
from amla.tb.rescale import RESCALE_UNITS
from amla.tb.runner import BUILD_ROOT, BenchError, build, run

UNIT = """
module own_rescale #(parameter K = 0) (input [31:0] x, input [(32 << K) - 1:0] offsets, output [31:0] y);
  wire [31:0] segment = K == 0 ? 0 : {9'b0, x[22:0]} >> (23 - K);
  wire [31:0] offset = offsets[32 * segment +: 32];
  wire signed [33:0] sum = $signed({3'b0, x[30:0]}) + $signed({{2{offset[31]}}, offset});
  wire special = &x[30:23];
  wire zero = x[30:23] == 0 || sum < 34'sh800000;
  wire infinite = sum >= 34'sh7f800000;
  assign y = special ? x : zero ? {x[31], 31'b0} : infinite ? {x[31], 8'hff, 23'b0} : {x[31], sum[30:0]};
endmodule
"""


def source() -> str:
    """A top with the ports that the bench ``amla.tb.test_rescale`` expects: those of its table."""
    units = {name: 0 if name == "rescale_product" else int(name[-1]) for name in RESCALE_UNITS}
    ports = [f"input [31:0] {name}_x, input [{(32 << k) - 1}:0] {name}_offsets, output [31:0] {name}_y"
             for name, k in units.items()]
    instances = [f"  own_rescale #({k}) {name} ({name}_x, {name}_offsets, {name}_y);" for name, k in units.items()]
    return "\n".join([UNIT, f"module own({', '.join(ports)});", *instances, "endmodule", ""])


@pytest.mark.parametrize(("name", "old", "new"), [
    ("right", "", ""), ("without_guard", "x[30:23] == 0 || sum < 34'sh800000", "x[30:23] == 0")])
def test_a_rescale_unit_from_elsewhere(tmp_path, name, old, new):
    text = source()
    assert old in text
    path = tmp_path / "own.sv"
    path.write_text(text.replace(old, new) if old else text)
    built = build(None, name="own", out=BUILD_ROOT / "verilator" / f"own_{name}", sources=[path])
    if not old:
        run(built, name="own", module="amla.tb.test_rescale", results=BUILD_ROOT / "results" / "own")
        return
    with pytest.raises(BenchError, match=r"rescale_\w+_y, vector \d+"):
        run(built, name="own", module="amla.tb.test_rescale", results=BUILD_ROOT / "results" / "own-wrong")
