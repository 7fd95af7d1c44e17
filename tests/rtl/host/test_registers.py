"""The register file under its cocotb bench, and the map itself."""

import pytest
from amla.rtl.host.csr import REGISTERS
from amla.rtl.host.registers import ADDRESS_BITS, Registers
from amla.tb.runner import run_bench


@pytest.mark.smoke
def test_registers():
    run_bench(Registers(), name="registers", module="amla.tb.host.test_registers")


def test_addresses_are_distinct_words_inside_the_map():
    addresses = [register.address for register in REGISTERS.values()]
    assert len(set(addresses)) == len(addresses)
    assert all(address % 4 == 0 and address < 1 << ADDRESS_BITS for address in addresses)


def test_fields_do_not_overlap():
    for register in REGISTERS.values():
        used = 0
        for field in register.fields:
            mask = ((1 << field.width) - 1) << field.lsb
            assert not used & mask and mask < 1 << 32, f"{register.name}.{field.name}"
            used |= mask
