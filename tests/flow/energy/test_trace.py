"""VCD: cycles, names, bits."""

import pytest
from amla.flow.energy.trace import Trace
from amla.flow.tools import FlowError

pytestmark = pytest.mark.smoke

HEADER = """$timescale 1ps $end
 $scope module $rootio $end
  $var wire 1 ! clk $end
 $upscope $end
 $scope module core $end
  $var wire 1 ! clk $end
  $scope module drain $end
   $var wire 3 # word [2:0] $end
   $var wire 1 $ flag $end
  $upscope $end
  $var wire 1 % irq $end
 $upscope $end
$enddefinitions $end
"""
BODY = """#0
0!
b101 #
1$
0%
#5
b111 #
1!
#7
0$
b010 #
#10
0!
1%
#15
1!
#20
0!
#25
b1 #
1$
1!
"""


def trace(folder, body=BODY, scope="core", clock="clk"):
    path = folder / "dump.vcd"
    path.write_text(HEADER + body, encoding="utf-8")
    return Trace(path, scope=scope, clock=clock)


def test_words(tmp_path):
    """The last values before the next edge, also those of the edge's own time, wherever they stand in it."""
    found = trace(tmp_path)
    assert "drain.word" in found and "drain.clk" not in found and "word" not in found
    cycles, words = found.read(["drain.word", "drain.flag", "irq"])
    assert cycles == 3  # edges at 5, 15, 25: 010, 010, 001
    assert words["drain.word"] == [0b100, 0b011, 0b000] and words["drain.flag"] == [0b100] and words["irq"] == [0b111]


def test_errors(tmp_path):
    with pytest.raises(FlowError, match=r"must hold the clock core\.clock"):
        trace(tmp_path, clock="clock")
    with pytest.raises(FlowError, match="values of irq must be 0 or 1 in every bit"):
        trace(tmp_path, BODY.replace("1%", "x%")).read(["irq"])
    with pytest.raises(FlowError, match=r"values of drain\.word must have 3 bits"):
        trace(tmp_path, BODY.replace("b1 #", "b10101 #")).read(["drain.word"])
