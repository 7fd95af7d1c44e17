"""Configurations that the load and store benches run on: the shipped ones and corners of the parameters."""

import os
from dataclasses import replace

from amla.rtl.config import CoreConfig

__all__ = ["CONFIGURATIONS", "bench_configuration"]

_TINY = CoreConfig.load("tiny")

#: Label -> configuration. ``narrow``: one L1 bank, groups of one row, bursts of 256 beats short of 4 KiB. ``wide``:
#: eight banks, m > n, bursts that a 4 KiB page limits to 32 beats, as many as may be in flight. ``deep``: every bit
#: of the fields that address buffers counts.
CONFIGURATIONS = {
    "tiny": _TINY,
    "small": CoreConfig.load("small"),
    "narrow": replace(_TINY, name="narrow", m=1, n=4, k=4, axi_data_bytes=8, axi_in_flight_bytes=6144,
                      out_bytes=1024),
    "wide": replace(_TINY, name="wide", m=8, n=4, k=8, axi_data_bytes=128, axi_in_flight_bytes=4096,
                    axi_address_bits=33, l1_bytes=131072, out_bytes=32768, state_rows=64),
    "deep": replace(_TINY, name="deep", m=2, n=2, k=2, lanes=1, axi_data_bytes=8, axi_address_bits=47,
                    l1_bytes=8 * 200_000, out_bytes=16 * 65_529, state_rows=2 * 8_191),
}


def bench_configuration() -> CoreConfig:
    """The configuration of the running bench, named by the environment variable AMLA_CONFIG."""
    return CONFIGURATIONS[os.environ["AMLA_CONFIG"]]
