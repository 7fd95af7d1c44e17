# amaranth: UnusedElaboratable=no
"""The dequantizer, in simulation."""

import pytest
from amla.rtl.host.dequantizer import Dequantizer
from amla.tb.runner import run_bench


@pytest.mark.smoke
@pytest.mark.parametrize("data_bytes", [16, 64])
def test_dequantizer(data_bytes):
    run_bench(Dequantizer(data_bytes=data_bytes, max_rows=64), name=f"dequantizer_{data_bytes}",
              module="amla.tb.host.test_dequantizer")


@pytest.mark.regress
@pytest.mark.parametrize("data_bytes", [32, 128])
def test_other_beats(data_bytes):
    run_bench(Dequantizer(data_bytes=data_bytes, max_rows=64), name=f"dequantizer_{data_bytes}",
              module="amla.tb.host.test_dequantizer")


@pytest.mark.smoke
@pytest.mark.parametrize(("options", "message"), [
    ({"data_bytes": 8, "max_rows": 4}, "data_bytes must be 16, 32, 64 or 128, not 8"),
    ({"data_bytes": 16, "max_rows": 0}, "max_rows must be at least 1, not 0"),
])
def test_rejects(options, message):
    with pytest.raises(ValueError, match=message):
        Dequantizer(**options)
