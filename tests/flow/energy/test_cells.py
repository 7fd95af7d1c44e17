"""Liberty: what a cell is, its tables, its functions."""

from itertools import product

import pytest
from amla.flow.energy.cells import Cells, evaluator
from amla.flow.tools import FlowError

pytestmark = pytest.mark.smoke

LIBRARY = """
/* a comment
   of two lines */
library (some) {
  capacitive_load_unit (1, ff);
  nom_voltage : 2.0;
  power_lut_template (grid) {
    variable_1 : total_output_net_capacitance; variable_2 : input_net_transition;
    index_1 ("0, 10"); index_2 ("0, 1");
  }
  power_lut_template (slope) { variable_1 : input_transition_time; index_1 ("0, 1"); }
  cell (AND) {
    pin (A) { capacitance : 5; }
    pin (B) { capacitance : 7; }
    pin (Y) {
      function : "(A B)";
      internal_power () { related_pin : "A"; rise_power (grid) { values ("1, 3", \\
         "11, 13"); } fall_power (grid) { values ("3, 5", "13, 15"); } }
      internal_power () { related_pin : "B"; rise_power (grid) { values ("3, 5", "13, 15"); } }
    }
  }
  cell (FF) {
    ff (IQ, IQN) { next_state : "D"; clocked_on : "C"; }
    pin (C) { clock : true; internal_power () { rise_power (slope) { index_1 ("0, 2"); values ("2, 4"); } } }
    pin (D) { }
    pin (Q) { function : "IQ"; }
  }
}
"""


def read(folder, text, transition=0.5):
    path = folder / "some.lib"
    path.write_text(text, encoding="utf-8")
    return Cells.read(path, transition=transition)


def test_cells(tmp_path):
    """Means over rise, fall and the inputs, by load and transition; farads and joules as pF and pJ."""
    cells = read(tmp_path, LIBRARY)
    assert cells.voltage == 2.0 and list(cells.cells) == ["AND", "FF"]
    gate, register = cells.cells["AND"], cells.cells["FF"]
    assert not gate.register and register.register
    assert gate.pins["A"].capacitance == pytest.approx(5e-3) and gate.pins["Y"].function == "(A B)"
    # at transition 0.5: A 3 and B 4 without load, 10 more at 10 fF; beyond the table its end
    assert [gate.pins["Y"].internal(load) for load in (0, 5e-3, 1e-2, 1.0)] == pytest.approx(
        [3.5e-3, 8.5e-3, 13.5e-3, 13.5e-3])
    assert register.pins["C"].clock and register.pins["C"].internal(0.0) == pytest.approx(2.5e-3)
    assert register.pins["D"].internal(0.0) == 0 and not register.pins["D"].clock
    slow = read(tmp_path, LIBRARY, transition=1.0).cells["AND"]
    assert slow.pins["Y"].internal(0.0) == pytest.approx(4.5e-3)


@pytest.mark.parametrize("text", ["cell (A) { }", "library (a) { cell (B) {", "", "library (a) { x : 1"])
def test_no_library(tmp_path, text):
    with pytest.raises(FlowError, match="a Liberty file must hold one library"):
        read(tmp_path, text)


def test_unit_of_capacitance(tmp_path):
    with pytest.raises(FlowError, match="capacitive_load_unit must be in pf or ff, not 'nf'"):
        read(tmp_path, LIBRARY.replace("(1, ff)", "(1, nf)"))


@pytest.mark.parametrize(("function", "meaning"), [
    ("(!((A B)+C))", lambda a, b, c: not ((a and b) or c)),
    ("A*B' | !C", lambda a, b, c: (a and not b) or not c),
    ("A ^ B C", lambda a, b, c: (a != b) and c),  # the strongest but for the inversion
    ("A+B&C", lambda a, b, c: a or (b and c)),
    ("(A+B)'^C", lambda a, b, c: (not (a or b)) != c),
    ("1 A + 0", lambda a, b, c: a),
])
def test_functions(function, meaning):
    """All inputs at once, a bit of the words each."""
    rows = list(product((False, True), repeat=3))
    words = {name: sum(row[index] << bit for bit, row in enumerate(rows)) for index, name in enumerate("ABC")}
    assert evaluator(function)(words, 255) == sum(bool(meaning(*row)) << bit for bit, row in enumerate(rows))


@pytest.mark.parametrize("function", ["A B)", "(A", "A ? B", "+", "2A"])
def test_no_function(function):
    with pytest.raises(FlowError, match="a cell's function must"):
        evaluator(function)
