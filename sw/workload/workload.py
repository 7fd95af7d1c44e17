"""Workload: what to compute, loaded from YAML; every wrong thing is one clear line."""

from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any

from amla.model.checks import as_index
from amla.rtl.errors import shown
from amla.rtl.files import FILE_NAME, is_file_name
from amla.rtl.yaml_file import load_yaml

from ..errors import AmlaError
from .inputs import Inputs, load_npz

__all__ = ["MAX_TOKENS", "Workload"]

#: Query tokens of a request; the rows of one tile may span this many (mask fields of the commands).
MAX_TOKENS = 16

_LIMITS = {
    "heads": (1, 1024), "q_tokens": (1, MAX_TOKENS), "head_dim": (1, 4096), "head_dim_v": (1, 4096),
    "page_size": (1, 65535), "seed": (0, 2**63 - 1),
}
_MAX_KEYS = 1 << 22
_GENERATORS = ("layer", "normal")
#: Keys that the arrays of an .npz file settle.
_FROM_ARRAYS = ("heads", "q_tokens", "head_dim", "page_size", "lengths", "seed", "poison")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One decode step of a batch of requests.

    Attributes
    ----------
    name:          label in reports and folders
    heads:         query heads
    lengths:       keys of each request, 0 included
    q_tokens:      query tokens of each request, 1 to 16
    causal:        query token t sees the keys below length - q_tokens + 1 + t
    head_dim:      columns of a query and of a key (latent and rotary part)
    head_dim_v:    columns of a value: the first ones of the key
    page_size:     keys per page of the cache
    seed:          seed of the generated inputs
    softmax_scale: factor of the scores; by default that of the inputs' origin (see :attr:`scale`)
    inputs:        "layer" (an MLA layer on random weights), "normal" (FlashMLA's test data) or the path of an
                   .npz file, whose arrays then settle the shape
    poison:        fill unused cache slots with NaN and unused table entries with 2147480000

    Raises
    ------
    AmlaError: a value breaks its rule.
    """

    name: str
    heads: int
    lengths: tuple[int, ...]
    q_tokens: int = 1
    causal: bool = False
    head_dim: int = 576
    head_dim_v: int = 512
    page_size: int = 64
    seed: int = 0
    softmax_scale: float | None = None
    inputs: str = "layer"
    poison: bool = True

    def __post_init__(self) -> None:
        for key, (low, high) in _LIMITS.items():
            value = as_index(getattr(self, key))
            _require(value is not None and low <= value <= high, key, f"an integer from {low} to {high}",
                     getattr(self, key))
            object.__setattr__(self, key, value)
        for key in ("causal", "poison"):
            _require(type(getattr(self, key)) is bool, key, "true or false", getattr(self, key))
        _require(is_file_name(self.name), "name", FILE_NAME, self.name)
        _require(isinstance(self.inputs, str), "inputs", "a string", self.inputs)
        _require(self.inputs in _GENERATORS or self.inputs.endswith(".npz"), "inputs",
                 f"{', '.join(_GENERATORS)} or the path of an .npz file", self.inputs)
        _require(self.head_dim_v <= self.head_dim, "head_dim_v", f"at most head_dim = {self.head_dim}",
                 self.head_dim_v)
        _require(isinstance(self.lengths, tuple) and len(self.lengths) > 0, "lengths",
                 "a list of at least one length", self.lengths)
        lengths = tuple(map(as_index, self.lengths))
        for index, length in enumerate(lengths):
            _require(length is not None and 0 <= length <= _MAX_KEYS, f"lengths[{index}]",
                     f"an integer from 0 to {_MAX_KEYS}", self.lengths[index])
        object.__setattr__(self, "lengths", lengths)
        scale = self.softmax_scale
        if scale is not None:
            _require(isinstance(scale, Real) and not isinstance(scale, bool) and 1e-30 < scale < 1e30,
                     "softmax_scale", "a positive number from 1e-30 to 1e30", scale)
            object.__setattr__(self, "softmax_scale", float(scale))
        if self.inputs == "layer":
            rotary = self.head_dim - self.head_dim_v
            _require(rotary >= 2 and rotary % 2 == 0, "head_dim",
                     "head_dim_v plus an even number of rotary columns for inputs: layer", self.head_dim)

    @property
    def scale(self) -> float:
        """Factor of the scores: as given, else 1/sqrt(d) of the layer before absorption (DeepSeek-V3: 192),
        else head_dim**-0.5."""
        if self.softmax_scale is not None:
            return self.softmax_scale
        if self.inputs == "layer":
            return (3 * (self.head_dim - self.head_dim_v)) ** -0.5
        return self.head_dim**-0.5

    @property
    def rows(self) -> int:
        """Query rows of a request."""
        return self.heads * self.q_tokens

    @property
    def pages(self) -> tuple[int, ...]:
        """Cache pages that each request fills or begins."""
        return tuple(-(-length // self.page_size) for length in self.lengths)

    @classmethod
    def from_npz(cls, path: str | Path, *, name: str | None = None, causal: bool = False,
                 head_dim_v: int = 512,
                 softmax_scale: float | None = None) -> "Workload":
        """The workload of a user's arrays; see :func:`amla.sw.workload.inputs.load_npz`."""
        return cls._around(load_npz(path), str(path), name=name or Path(path).stem, causal=causal,
                           head_dim_v=head_dim_v, softmax_scale=softmax_scale)

    @classmethod
    def _around(cls, inputs: Inputs, path: str, **values: Any) -> "Workload":
        _, tokens, heads, width = inputs.q.shape
        _require(tokens <= MAX_TOKENS, f"{path}: q", f"at most {MAX_TOKENS} query tokens (axis 1)", tokens)
        return cls(heads=heads, q_tokens=tokens, head_dim=width, page_size=inputs.kv_cache.shape[1],
                   lengths=tuple(map(int, inputs.cache_seqlens)), inputs=path, **values)

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "workload", folder: Path | None = None) -> "Workload":
        """Build a workload from a mapping such as a YAML document; unknown and missing keys are errors.

        A relative .npz path is taken from ``folder``.
        """
        if not isinstance(values, dict):
            raise AmlaError(f"{source} must be a mapping of keys to values, not {shown(values)}")
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise AmlaError(f"{source}: unknown key {shown(key)}; known keys are {', '.join(known)}")
        values = {"name": source.removesuffix(".yaml").removesuffix(".yml"), **values}
        try:
            inputs = values.get("inputs")
            if isinstance(inputs, str) and inputs.endswith(".npz"):
                given = [key for key in _FROM_ARRAYS if key in values]
                if given:
                    raise AmlaError(f"{given[0]} comes from the arrays of {inputs} and must not be given too")
                path = str((folder or Path()) / inputs)
                return cls._around(load_npz(path), path, **{k: v for k, v in values.items() if k != "inputs"})
            for key in ("heads", "lengths"):
                if key not in values:
                    raise AmlaError(f"missing key {key!r}")
            if isinstance(values["lengths"], list):
                values["lengths"] = tuple(values["lengths"])
            return cls(**values)
        except AmlaError as error:
            raise AmlaError(f"{source}: {error}") from None

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Workload":
        """Load ``configs/workloads/<name>.yaml`` or a YAML file given by its path."""
        path, values = load_yaml(name_or_path, kind="workload", folder="workloads", error=AmlaError)
        return cls.from_dict(values, source=path.name, folder=path.parent)


def _require(ok: object, key: str, rule: str, value: object) -> None:
    if not ok:
        raise AmlaError(f"{key} must be {rule}, not {shown(value)}")
