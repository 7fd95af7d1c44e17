"""The command set: numbers that stand for different things differ, and fit their fields."""

import enum

import pytest
from amla.rtl import isa
from amla.rtl.isa import FLAGS, LAYOUTS, SEMAPHORES, Engine, Fault, Header, Opcode, Semaphore

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("numbers", [Engine, Opcode, Fault, Semaphore])
def test_no_two_names_share_a_number(numbers):
    assert len(numbers.__members__) == len({int(number) for number in numbers})


def test_a_shared_number_would_be_refused():
    for numbers in (isa.Engine, isa.Opcode, isa.Fault, isa.Semaphore):
        clash = dict(numbers.__members__)
        clash["ANOTHER"] = next(iter(clash.values()))
        with pytest.raises(ValueError, match="duplicate values"):
            enum.unique(enum.IntEnum("Clash", clash))


def test_every_semaphore_has_a_bit_of_the_masks():
    assert {int(semaphore) for semaphore in Semaphore} <= set(range(SEMAPHORES))
    assert Header.members["wait"].width == Header.members["signal"].width == SEMAPHORES


def test_every_opcode_names_its_engine_and_has_a_layout():
    assert set(LAYOUTS) == set(FLAGS) == set(Opcode)
    for opcode in Opcode:
        assert (opcode >> 4) in {int(engine) for engine in Engine}
        assert len(set(FLAGS[opcode].values())) == len(FLAGS[opcode])
