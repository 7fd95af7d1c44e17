"""The second cache of a sparse decode step: keys, pages and lists of its own."""

from dataclasses import dataclass, fields
from typing import Any

from ..errors import AmlaError
from .rules import integer, integers, known_keys

__all__ = ["MAX_KEYS", "MAX_PAGE", "MAX_TOPK", "ExtraCache"]

#: Keys of a request in one cache, slots of a page, entries of a query token's list.
MAX_KEYS, MAX_PAGE, MAX_TOPK = 1 << 22, 1024, 1 << 16


@dataclass(frozen=True, kw_only=True)
class ExtraCache:
    """A second cache, in the format of the first, whose listed keys follow those of the first.

    Attributes
    ----------
    lengths:      keys of each request in this cache, 0 included
    topk:         entries of the list of each query token
    topk_lengths: entries that count, by request; None: all
    page_size:    keys per page

    Raises
    ------
    AmlaError: a value breaks its rule.
    """

    lengths: tuple[int, ...]
    topk: int
    topk_lengths: tuple[int, ...] | None = None
    page_size: int = 64

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {
            "lengths": integers("extra.lengths", self.lengths, 0, MAX_KEYS),
            "topk": integer("extra.topk", self.topk, 1, MAX_TOPK),
            "page_size": integer("extra.page_size", self.page_size, 1, MAX_PAGE),
        }
        if self.topk_lengths is not None:
            checked["topk_lengths"] = integers("extra.topk_lengths", self.topk_lengths, 0, checked["topk"],
                                               count=len(self.lengths))
        for key, value in checked.items():
            object.__setattr__(self, key, value)

    @classmethod
    def from_dict(cls, values: Any) -> "ExtraCache":
        """Build it from a mapping such as a part of a YAML document; unknown and missing keys are errors."""
        values = known_keys("extra", values, [field.name for field in fields(cls)])
        for key in ("lengths", "topk"):
            if key not in values:
                raise AmlaError(f"extra: missing key {key!r}")
        return cls(**values)
