# amaranth: UnusedElaboratable=no
"""The small operators, in simulation."""

import pytest
from amla.rtl.fp.fixed import FromFixed
from amla.tb.fp.compiled import run_compiled
from amla.tb.fp.operators import OPERATORS
from amla.tb.fp.table import side_by_side
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_operators():
    run_bench(side_by_side(OPERATORS), name="operators", module="amla.tb.fp.test_operators")


def test_operators_a_million():
    run_compiled(OPERATORS, name="operators_compiled")


@pytest.mark.smoke
@pytest.mark.parametrize("width", [25, 65])
def test_from_fixed_rejects(width):
    with pytest.raises(ValueError, match=rf"width must be from 26 to 64, not {width}"):
        FromFixed(width=width)
