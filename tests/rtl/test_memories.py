"""Every memory of every core can be an SRAM macro, and all are counted."""

from dataclasses import replace

import pytest
from amla.rtl.config import MODES, CoreConfig
from amla.rtl.docs import CORES
from amla.rtl.memories import MACRO_BITS, REGISTER_BITS, MemoryUse, memories
from amla.rtl.two_banks import TwoBanks
from amla.tb.runner import run_bench

CONFIGS = [
    *(CoreConfig.load(name) for name in CORES),
    *(replace(CoreConfig.load("tiny"), name=mode, mode=mode) for mode in MODES if mode != "amla"),
    replace(CoreConfig.load("tiny"), name="odd", m=8, n=4, k=8, lanes=2, axi_data_bytes=32),
]


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda config: config.name)
def core(request):
    return request.param, memories(request.param)


def test_one_read_and_one_write_port(core):
    """And what is read without a clock is small enough for registers."""
    _, found = core
    for use in found:
        assert use.reads == 1 and use.writes <= 1, use
        assert use.synchronous or use.bits <= REGISTER_BITS, use


def test_macros_have_whole_enables(core):
    _, found = core
    for use in found:
        width = use.width // use.macros
        assert width * use.macros == use.width and width <= MACRO_BITS, use
        assert not width % use.grain or not use.grain % width, use


def test_buffers_are_as_the_configuration_counts_them(core):
    """All but queues and what is in flight; so nothing is left out of ``sram_bytes``."""
    config, found = core
    buffers = [use for use in found if use.writes and not use.name.startswith(("sequencer.", "load.", "store."))
               and "_queue." not in use.name]
    assert sum(use.bits for use in buffers) == 8 * sum(config.sram_bytes.values())


@pytest.mark.parametrize(("width", "grain", "macros"), [
    (8192, 8192, 8), (8192, 1024, 8), (2048, 128, 2), (4096, 256, 4), (224, 224, 1), (1536, 512, 3), (3072, 3072, 3)])
def test_macros_of_a_word(width, grain, macros):
    use = MemoryUse(name="x", words=4, width=width, grain=grain, reads=1, writes=1, synchronous=True)
    assert use.macros == macros


@pytest.mark.smoke
@pytest.mark.parametrize("depth", [2, 16])
def test_two_banks(depth):
    run_bench(TwoBanks(shape=24, depth=depth), name=f"two_banks_{depth}", module="amla.tb.test_two_banks",
              env={"BENCH_DEPTH": str(depth)})
