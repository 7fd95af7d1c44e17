"""Space: the cores, memories and workloads to try, loaded from YAML; its points are all their combinations."""

import hashlib
import itertools
import math
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_origin

from amla.rtl.config import CoreConfig
from amla.rtl.errors import shown
from amla.rtl.files import FILE_NAME, is_file_name
from amla.rtl.yaml_file import load_yaml

from ..errors import AmlaError
from ..memory.preset import Memory
from ..workload.rules import require
from ..workload.workload import Workload

__all__ = ["MOST_POINTS", "Point", "Space"]

#: A space of more points is taken for a mistake.
MOST_POINTS = 100_000

_PRELOADS = (0, 1, 2)


@dataclass(frozen=True)
class _Kind:
    """A part of a point: its key in an entry, its class, and where and as what its YAML files are found."""

    key: str
    made: Any
    folder: str
    file: str


#: By the key of the space.
_KINDS = {"cores": _Kind("core", CoreConfig, "", "configuration"),
          "memories": _Kind("memory", Memory, "memory", "memory"),
          "workloads": _Kind("workload", Workload, "workloads", "workload")}

#: Fields that no entry may replace: a name stands for the file, an extra cache is no one value.
_FIXED = ("name", "extra")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One core beside one memory at one workload.

    Attributes
    ----------
    axes:     by name, in the order of :attr:`Space.axes`: what tells the point from others
    core, memory, workload: None where the values break a rule
    preload:  C1 stages that run ahead of their C2
    reason:   the broken rule; None where the point can be tried
    """

    axes: Mapping[str, Any]
    core: CoreConfig | None
    memory: Memory | None
    workload: Workload | None
    preload: int
    reason: str | None = None

    def key(self, version: str) -> str:
        """Sixteen hexadecimal digits that stand for the point, evaluated by a model of this version."""
        parts = [part and asdict(part) for part in (self.core, self.memory, self.workload)]
        broken = self.reason and (self.reason, *self.axes.items())
        return hashlib.sha256(repr((version, parts, self.preload, broken)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Variant:
    """An entry with one value for each of its fields: what is made of it, or the rule that it breaks."""

    name: str
    values: Mapping[str, Any]
    made: Any
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class Space:
    """What to try: every core beside every memory at every workload and preload depth.

    Attributes
    ----------
    name:     the file's
    variants: by kind (cores, memories, workloads), in the order of the file
    preloads: depths, 0 to 2
    """

    name: str
    variants: Mapping[str, Sequence[_Variant]]
    preloads: Sequence[int]

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """What points differ in: core, memory, workload, preload; then ``core.lanes`` and the like, each field that
        an entry replaces."""
        replaced = {kind: dict.fromkeys(field for variant in variants for field in variant.values)
                    for kind, variants in self.variants.items()}
        return (*(_KINDS[kind].key for kind in self.variants), "preload",
                *(f"{_KINDS[kind].key}.{field}" for kind, found in replaced.items() for field in found))

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Every combination once, in the order of the file, preload depths innermost."""
        points = (self._point(preload, {"core": core, "memory": memory, "workload": workload})
                  for core, memory, workload in itertools.product(*(self.variants[kind] for kind in _KINDS))
                  for preload in self.preloads)
        return tuple({point.key(""): point for point in points}.values())

    def _point(self, preload: int, parts: Mapping[str, _Variant]) -> Point:
        axes: dict[str, Any] = {**{key: variant.name for key, variant in parts.items()}, "preload": preload}
        for axis in self.axes[len(axes):]:
            key, _, field = axis.partition(".")
            value = parts[key].values.get(field, getattr(parts[key].made, field, None))
            axes[axis] = list(value) if isinstance(value, tuple) else value
        reasons = (variant.reason for variant in parts.values() if variant.reason)
        return Point(axes=axes, preload=preload, reason=next(reasons, None),
                     **{key: variant.made for key, variant in parts.items()})

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Space":
        """Load ``configs/spaces/<name>.yaml`` or a YAML file given by its path.

        Raises
        ------
        AmlaError: a key is unknown or missing, a file cannot be read, a value has the wrong type, or there are more
            than :data:`MOST_POINTS` points. Values that break a rule of the core make points with a reason.
        """
        path, values = load_yaml(name_or_path, kind="space", folder="spaces", error=AmlaError)
        try:
            return cls._from_dict(values, path.stem)
        except AmlaError as error:
            raise AmlaError(f"{path.name}: {error}") from None

    @classmethod
    def _from_dict(cls, values: Any, name: str) -> "Space":
        require(isinstance(values, dict), "a space", "a mapping of keys to values", values)
        require(is_file_name(name), "name", FILE_NAME, name)
        known = (*_KINDS, "preload")
        for key in values:
            if key not in known:
                raise AmlaError(f"unknown key {shown(key)}; known keys are {', '.join(known)}")
        for key in _KINDS:
            require(isinstance(values.get(key), list) and values[key], key, "a list of at least one entry",
                    values.get(key))
        depths = values.get("preload", 1)
        depths = depths if isinstance(depths, list) else [depths]
        require(depths and all(type(depth) is int and depth in _PRELOADS for depth in depths), "preload",
                "0, 1, 2 or a list of them", values.get("preload"))
        entries = {key: [_Entry.of(kind, entry, f"{key}[{index}]") for index, entry in enumerate(values[key])]
                   for key, kind in _KINDS.items()}
        points = len(depths) * math.prod(sum(entry.count for entry in found) for found in entries.values())
        require(points <= MOST_POINTS, "a space", f"of at most {MOST_POINTS:,} points", points)
        return cls(name=name, preloads=tuple(depths),
                   variants={key: [variant for entry in found for variant in entry.variants()]
                             for key, found in entries.items()})


@dataclass(frozen=True)
class _Entry:
    """A file, and the values that replace its own, a list for each field."""

    kind: _Kind
    path: Path
    base: Mapping[str, Any]
    choices: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, kind: _Kind, entry: Any, where: str) -> "_Entry":
        if isinstance(entry, str):
            entry = {kind.key: entry}
        require(isinstance(entry, dict), where, f"a name or a mapping with the key {kind.key!r}", entry)
        require(isinstance(entry.get(kind.key), str), f"{where}.{kind.key}", "a name or the path of a YAML file",
                entry.get(kind.key))
        path, base = load_yaml(entry[kind.key], kind=kind.file, folder=kind.folder, error=AmlaError)
        kind.made.load(entry[kind.key])  # what is wrong without any replacement is wrong with the space
        types_of = {field.name: field.type for field in fields(kind.made) if field.name not in _FIXED}
        choices = {}
        for key, given in entry.items():
            if key == kind.key:
                continue
            if key not in types_of:
                raise AmlaError(f"{where}: unknown key {shown(key)}; known keys are {kind.key}, {', '.join(types_of)}")
            choices[key] = _choices(given, types_of[key], f"{where}.{key}")
        return cls(kind, path, base, choices)

    @property
    def count(self) -> int:
        return math.prod(map(len, self.choices.values()))

    def variants(self) -> Iterator[_Variant]:
        for chosen in itertools.product(*self.choices.values()):
            values = dict(zip(self.choices, chosen, strict=True))
            folder = {"folder": self.path.parent} if self.kind.made is Workload else {}
            try:
                made = self.kind.made.from_dict({**self.base, **values}, source=self.path.name, **folder)
                yield _Variant(self.path.stem, values, made, None)
            except AmlaError as error:
                yield _Variant(self.path.stem, values, None, str(error))


def _choices(given: Any, wanted: Any, key: str) -> list[Any]:
    """The values to try of a field: each has the field's type, and there is one at least."""
    plain = tuple(part for part in (get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)))
    listed = any(get_origin(part) is tuple for part in plain)
    several = isinstance(given, list) and (not listed or any(isinstance(value, list) for value in given))
    values = given if several else [given]
    allowed = {part for part in plain if isinstance(part, type)} | ({int} if float in plain else set())
    rule = " or ".join(["a list of integers"] * listed + ["null" if part is type(None) else part.__name__
                                                        for part in plain if isinstance(part, type)])
    for value in values:
        fits = type(value) in allowed or (listed and isinstance(value, list) and all(type(one) is int for one in value))
        require(fits, key, f"{rule}, or a list of such", value)
    require(values, key, "a list of at least one value", given)
    return values
