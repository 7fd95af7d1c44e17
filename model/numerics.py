"""Numeric parameters: the few numbers that change the bits of a result."""

from dataclasses import dataclass

from .checks import as_integer

__all__ = ["FLASHMLA", "HARDWARE_MODES", "MODES", "Numerics", "check_mode"]

#: Ways to bring O and l of the earlier KV blocks into the frame of the current one that the RTL has too.
HARDWARE_MODES = ("amla", "mul", "pow2")

#: All of them; `paper` and `log` exist in the model only.
MODES = (*HARDWARE_MODES, "paper", "log")

#: The mode of the decode calls that is another machine: FlashMLA on a GPU, in the GPU's numerics.
FLASHMLA = "flashmla"

_LIMITS = {"kv_block": (1, 4096), "k": (1, 256), "acc_frac_bits": (24, 40), "comp_bits": (0, 3)}


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """What of a core's configuration reaches the arithmetic; all else changes cycles only.

    Attributes
    ----------
    kv_block:      keys per KV block (rescale interval), a multiple of `k`, at most 4096
    k:             products per fused dot product (`fdpa`), 1 to 256
    acc_frac_bits: alignment bits F of `fdpa`, 24 to 40
    comp_bits:     index bits of the row offsets, 0 to 3

    Raises
    ------
    TypeError:  a value is not an int.
    ValueError: a value breaks its rule.
    """

    kv_block: int = 512
    k: int = 16
    acc_frac_bits: int = 30
    comp_bits: int = 2

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = as_integer(name, getattr(self, name))
            object.__setattr__(self, name, value)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {value!r}")
        if self.kv_block % self.k:
            raise ValueError(f"kv_block must be a multiple of k = {self.k}, not {self.kv_block!r}")


def check_mode(mode: str, modes: tuple[str, ...] = MODES) -> None:
    """Raise ValueError unless `mode` is one of `modes`."""
    if mode not in modes:
        raise ValueError(f"mode must be one of {', '.join(modes)}, not {mode!r}")
