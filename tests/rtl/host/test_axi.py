# amaranth: UnusedElaboratable=no
"""AXI signatures, and the read arbiter in simulation."""

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amla.rtl.host.axi import ReadArbiter, ReadSignature, WriteSignature
from amla.tb.engines.flat import FlatAxi
from amla.tb.runner import BenchError, run_bench


@pytest.mark.smoke
@pytest.mark.parametrize("clients", [2, 3])
def test_read_arbiter(clients):
    top = FlatAxi(ReadArbiter(32, 128, clients=clients), address_bits=32, data_bytes=16)
    run_bench(top, name=f"read_arbiter_{clients}", module="amla.tb.host.test_read_arbiter")


class Starving(wiring.Component):
    """A read arbiter that never serves its last client."""

    def __init__(self):
        self._arbiter = ReadArbiter(32, 128, clients=2)
        super().__init__(self._arbiter.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.arbiter = arbiter = self._arbiter
        wiring.connect(m, wiring.flipped(self.bus), arbiter.bus)
        wiring.connect(m, wiring.flipped(self.clients[0]), arbiter.clients[0])
        return m


@pytest.mark.smoke
@pytest.mark.parametrize("testcase", ["every_client_gets_its_data", "turns_are_fair", "a_late_client_waits_one_turn"])
def test_a_client_that_starves_is_named(testcase):
    with pytest.raises(BenchError, match=r"clients__1__ar: payload 0 was not taken in \d+ cycles"):
        run_bench(FlatAxi(Starving(), address_bits=32, data_bytes=16), name="starving_arbiter",
                  module="amla.tb.host.test_read_arbiter", testcase=testcase)


@pytest.mark.smoke
def test_signatures_equal_by_parameters():
    assert ReadSignature(40, 512) == ReadSignature(40, 512)
    assert ReadSignature(40, 512) != ReadSignature(40, 128)
    assert ReadSignature(40, 512) != WriteSignature(40, 512)
    assert ReadSignature(40, 512) != ReadSignature(40, 512, 1)
    assert repr(ReadSignature(40, 512, 1)) == "ReadSignature(40, 512, 1)"


@pytest.mark.smoke
@pytest.mark.parametrize("make, message", [
    (lambda: ReadSignature(8, 64), "address_bits must be an integer from 12 to 64, not 8"),
    (lambda: WriteSignature(40, 48), "data_bits must be a power of two from 8 to 1024, not 48"),
    (lambda: ReadSignature(40, 64, 33), "id_bits must be an integer from 0 to 32, not 33"),
    (lambda: ReadArbiter(40, 64, clients=1), "clients must be an integer of at least 2, not 1"),
])
def test_wrong_parameters_are_named(make, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make()
