"""Workload: what to compute, loaded from YAML; every wrong thing is one clear line."""

from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from amla.rtl.files import FILE_NAME, is_file_name
from amla.rtl.yaml_file import load_yaml

from ..errors import AmlaError
from .extra import MAX_KEYS, MAX_PAGE, MAX_TOPK, ExtraCache
from .inputs import Inputs, load_npz
from .rules import integer, integers, known_keys, require

__all__ = ["CACHES", "FP8_CACHES", "MAX_TOKENS", "Workload"]

#: Query tokens of a request; the rows of one tile may span this many (the fields of the masks).
MAX_TOKENS = 16

#: FP8 caches by name: columns of a key, 64 of them rotary, in BF16.
FP8_CACHES = {"fp8-656": 576, "fp8-584": 512}
#: Names of all caches.
CACHES = ("bf16", "fp16", *FP8_CACHES)
_FP8_ROTARY, _FP8_HEAD_DIM_V = 64, 512

_LIMITS = {
    "heads": (1, 1024), "q_tokens": (1, MAX_TOKENS), "head_dim": (1, 1024), "head_dim_v": (1, 1024),
    "page_size": (1, MAX_PAGE), "seed": (0, 2**63 - 1),
}
_GENERATORS = ("layer", "normal")
#: Keys that the arrays of an .npz file settle.
_FROM_ARRAYS = ("heads", "q_tokens", "head_dim", "page_size", "lengths", "cache", "topk", "topk_lengths", "window",
                "extra", "sink", "seed", "poison")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One decode step of a batch of requests.

    Attributes
    ----------
    name:          label in reports and folders
    heads:         query heads
    lengths:       keys of each request, 0 included
    q_tokens:      query tokens of each request, 1 to 16
    causal:        query token t sees the keys below length - q_tokens + 1 + t; false with topk, whose lists do so
    head_dim:      columns of a query and of a key (latent and rotary part)
    head_dim_v:    columns of a value: the first ones of the key
    cache:         "bf16", "fp16", or FlashMLA's "fp8-656" (head_dim 576) or "fp8-584" (head_dim 512), the latter two
                   for cores of BF16; None: the 16 bits of the core
    page_size:     keys per page of the cache
    topk:          sparse: entries of the list of keys that each query token has; None: dense
    topk_lengths:  entries that count, by request; None: all
    window:        the last keys that every list holds
    extra:         sparse: a second cache with lists of its own
    sink:          every head has an attention sink
    seed:          seed of the generated inputs
    softmax_scale: factor of the scores; by default that of the inputs' origin (see :attr:`scale`)
    inputs:        "layer" (an MLA layer on random weights), "normal" (FlashMLA's test data) or the path of an
                   .npz file, whose arrays then settle the shape
    poison:        fill unused cache slots with NaN, unused table entries with 2147480000, list entries that do not
                   count with any number

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
    cache: str | None = None
    page_size: int = 64
    topk: int | None = None
    topk_lengths: tuple[int, ...] | None = None
    window: int = 0
    extra: ExtraCache | None = None
    sink: bool = False
    seed: int = 0
    softmax_scale: float | None = None
    inputs: str = "layer"
    poison: bool = True

    def __post_init__(self) -> None:
        for key, (low, high) in _LIMITS.items():
            object.__setattr__(self, key, integer(key, getattr(self, key), low, high))
        for key in ("causal", "sink", "poison"):
            require(type(getattr(self, key)) is bool, key, "true or false", getattr(self, key))
        require(is_file_name(self.name), "name", FILE_NAME, self.name)
        require(isinstance(self.inputs, str), "inputs", "a string", self.inputs)
        require(self.inputs in _GENERATORS or self.inputs.endswith(".npz"), "inputs",
                f"{', '.join(_GENERATORS)} or the path of an .npz file", self.inputs)
        require(self.head_dim_v <= self.head_dim, "head_dim_v", f"at most head_dim = {self.head_dim}", self.head_dim_v)
        object.__setattr__(self, "lengths", integers("lengths", self.lengths, 0, MAX_KEYS))
        scale = self.softmax_scale
        if scale is not None:
            require(isinstance(scale, Real) and not isinstance(scale, bool) and 1e-30 < scale < 1e30,
                    "softmax_scale", "a positive number from 1e-30 to 1e30", scale)
            object.__setattr__(self, "softmax_scale", float(scale))
        require(self.cache is None or self.cache in CACHES, "cache", f"one of {', '.join(CACHES)}", self.cache)
        if self.cache in FP8_CACHES:
            width = FP8_CACHES[self.cache]
            require(self.head_dim == width, "head_dim", f"{width} with cache: {self.cache}", self.head_dim)
            require(self.head_dim_v <= _FP8_HEAD_DIM_V, "head_dim_v",
                    f"at most {_FP8_HEAD_DIM_V} with cache: {self.cache}", self.head_dim_v)
        if self.inputs == "layer":
            require(self.rotary >= 2 and self.rotary % 2 == 0, "head_dim",
                    "head_dim_v plus an even number of rotary columns for inputs: layer", self.head_dim)
        self._check_lists()

    def _check_lists(self) -> None:
        if self.topk is None:
            for key, none in (("topk_lengths", None), ("window", 0), ("extra", None)):
                require(getattr(self, key) == none, key, f"{none} without topk", getattr(self, key))
            return
        topk = integer("topk", self.topk, 1, MAX_TOPK)
        object.__setattr__(self, "topk", topk)
        object.__setattr__(self, "window", integer("window", self.window, 0, topk))
        if self.topk_lengths is not None:
            object.__setattr__(self, "topk_lengths", integers("topk_lengths", self.topk_lengths, 0, topk,
                                                              count=len(self.lengths)))
        require(not self.causal, "causal", "false with topk, whose lists are each query token's own", self.causal)
        if self.extra is not None:
            require(isinstance(self.extra, ExtraCache), "extra", "an ExtraCache", self.extra)
            integers("extra.lengths", self.extra.lengths, 0, MAX_KEYS, count=len(self.lengths))

    @property
    def fp8(self) -> bool:
        """The caches are FP8."""
        return self.cache in FP8_CACHES

    @property
    def rotary(self) -> int:
        """Rotary columns, the last ones of a key: those that are no value, or the 64 of an FP8 cache."""
        return _FP8_ROTARY if self.fp8 else self.head_dim - self.head_dim_v

    @property
    def scale(self) -> float:
        """Factor of the scores: as given, else 1/sqrt(d) of the layer before absorption (DeepSeek-V3: 192),
        else head_dim**-0.5."""
        if self.softmax_scale is not None:
            return self.softmax_scale
        if self.inputs == "layer":
            return (3 * self.rotary) ** -0.5
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
        requests, tokens, heads, width = inputs.q.shape
        require(tokens <= MAX_TOKENS, f"{path}: q", f"at most {MAX_TOKENS} query tokens (axis 1)", tokens)
        if inputs.indices is None:
            values["lengths"] = _ints(inputs.cache_seqlens)
        else:
            values |= _listed(requests, inputs.kv_cache, inputs.indices, inputs.topk_length)
        if inputs.extra_k_cache is not None and inputs.extra_indices_in_kvcache is not None:
            values["extra"] = ExtraCache(
                page_size=inputs.extra_k_cache.shape[1],
                **_listed(requests, inputs.extra_k_cache, inputs.extra_indices_in_kvcache, inputs.extra_topk_length))
        return cls(heads=heads, q_tokens=tokens, head_dim=width, page_size=inputs.kv_cache.shape[1],
                   cache=inputs.cache, sink=inputs.attn_sink is not None, inputs=path, **values)

    @classmethod
    def from_dict(cls, values: Any, *, source: str = "workload", folder: Path | None = None) -> "Workload":
        """Build a workload from a mapping such as a YAML document; unknown and missing keys are errors.

        A relative .npz path is taken from ``folder``.
        """
        values = known_keys(source, values, [field.name for field in fields(cls)])
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
            if values.get("extra") is not None:
                values["extra"] = ExtraCache.from_dict(values["extra"])
            return cls(**values)
        except AmlaError as error:
            raise AmlaError(f"{source}: {error}") from None

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Workload":
        """Load ``configs/workloads/<name>.yaml`` or a YAML file given by its path."""
        path, values = load_yaml(name_or_path, kind="workload", folder="workloads", error=AmlaError)
        return cls.from_dict(values, source=path.name, folder=path.parent)


def _ints(array: np.ndarray | None) -> tuple[int, ...] | None:
    return None if array is None else tuple(map(int, array))


def _listed(requests: int, cache: np.ndarray, indices: np.ndarray, counts: np.ndarray | None) -> dict[str, Any]:
    """Lengths and lists of a cache that lists point into: every request may have any of its slots."""
    return {"lengths": (cache.shape[0] * cache.shape[1],) * requests, "topk": indices.shape[2],
            "topk_lengths": _ints(counts)}
