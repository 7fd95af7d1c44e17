"""Numeric parameters: the few numbers that change the bits of a result."""

from dataclasses import dataclass

from .checks import as_integer
from .fp.formats import U6_10, Format

__all__ = ["FLASHMLA", "HARDWARE_MODES", "MODES", "P_FORMATS", "Numerics", "check_mode"]

#: Ways to bring O and l of the earlier KV blocks into the frame of the current one that the RTL has too.
HARDWARE_MODES = ("amla", "mul", "pow2")

#: All of them; `paper` and `log` exist in the model only.
MODES = (*HARDWARE_MODES, "paper", "log")

#: The mode of the decode calls that is another machine: FlashMLA on a GPU, in the GPU's numerics.
FLASHMLA = "flashmla"

#: Formats of P, the weights of the second product: that of Q and KV, or one of its own.
P_FORMATS = ("operand", "u6.10")

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
    p_format:      format of P: "u6.10", or "operand" for that of Q and KV; of no meaning in mode `paper`

    Raises
    ------
    TypeError:  a value has the wrong type.
    ValueError: a value breaks its rule.
    """

    kv_block: int = 512
    k: int = 16
    acc_frac_bits: int = 30
    comp_bits: int = 0
    p_format: str = "u6.10"

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            value = as_integer(name, getattr(self, name))
            object.__setattr__(self, name, value)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, not {value!r}")
        if self.kv_block % self.k:
            raise ValueError(f"kv_block must be a multiple of k = {self.k}, not {self.kv_block!r}")
        if not isinstance(self.p_format, str):
            raise TypeError(f"p_format must be a str, not {self.p_format!r}")
        if self.p_format not in P_FORMATS:
            raise ValueError(f"p_format must be one of {', '.join(P_FORMATS)}, not {self.p_format!r}")

    def format_of_p(self, operand: Format) -> Format:
        """Format of P where Q and KV have the format `operand`."""
        return operand if self.p_format == "operand" else U6_10


def check_mode(mode: str, modes: tuple[str, ...] = MODES) -> None:
    """Raise ValueError unless `mode` is one of `modes`."""
    if mode not in modes:
        raise ValueError(f"mode must be one of {', '.join(modes)}, not {mode!r}")
