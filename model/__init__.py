"""Golden model: MLA decode and its operations, bit-exact to the RTL.

Names are loaded on first use, so that importing a table or a constant does not load the compiler. Kernels
are compiled on first call and cached beside the sources.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .decode import mla_decode as mla_decode
    from .flash_mla import flash_mla_with_kvcache as flash_mla_with_kvcache
    from .hopper.tensor_core import tensor_core as tensor_core
    from .numerics import MODES as MODES
    from .numerics import Numerics as Numerics
    from .reference import error_metrics as error_metrics
    from .reference import mla_reference as mla_reference
    from .tile_scheduler import FlashMLASchedMeta as FlashMLASchedMeta
    from .tile_scheduler import get_mla_metadata as get_mla_metadata

_HOMES = {
    "FlashMLASchedMeta": "tile_scheduler",
    "MODES": "numerics",
    "Numerics": "numerics",
    "error_metrics": "reference",
    "flash_mla_with_kvcache": "flash_mla",
    "get_mla_metadata": "tile_scheduler",
    "mla_decode": "decode",
    "mla_reference": "reference",
    "tensor_core": "hopper.tensor_core",
}

__all__ = [
    "MODES", "FlashMLASchedMeta", "Numerics", "error_metrics", "flash_mla_with_kvcache", "get_mla_metadata",
    "mla_decode", "mla_reference", "tensor_core",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
