"""Space: the cores, memories, machines and workloads to try, loaded from YAML; its points are all combinations."""

import hashlib
import itertools
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args, get_origin

from amla.rtl.config import CoreConfig
from amla.rtl.errors import shown
from amla.rtl.files import FILE_NAME, is_file_name
from amla.rtl.yaml_file import load_yaml

from ..errors import AmlaError
from ..machine.machine import Machine, load_machine
from ..memory.preset import Memory
from ..workload.rules import require
from ..workload.workload import Workload

__all__ = ["MOST_POINTS", "Point", "Space"]

#: A space of more points is taken for a mistake.
MOST_POINTS = 100_000

_PRELOADS = (0, 1, 2)


@dataclass(frozen=True)
class _Kind:
    """A part of a point: its key in an entry, how it is loaded, and where and as what its YAML files are found."""

    key: str
    load: Callable[[str], Any]
    folder: str
    file: str


#: By the key of the space.
_KINDS = {"cores": _Kind("core", CoreConfig.load, "", "configuration"),
          "memories": _Kind("memory", Memory.load, "memory", "memory"),
          "machines": _Kind("machine", load_machine, "machines", "machine"),
          "workloads": _Kind("workload", Workload.load, "workloads", "workload")}

#: Fields that no entry may replace: a name stands for the file, others are no one value.
_FIXED = ("name", "extra", "about", "published")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One core beside one memory, or one machine, at one workload.

    Attributes
    ----------
    axes:     by name, in the order of :attr:`Space.axes`: what tells the point from others
    core, memory, machine, workload: None where it is not of the point, or its values break a rule
    preload:  C1 stages that run ahead of their C2; None on a machine
    reason:   the broken rule; None where the point can be tried
    """

    axes: Mapping[str, Any]
    core: CoreConfig | None
    memory: Memory | None
    workload: Workload | None
    preload: int | None
    machine: Machine | None = None
    reason: str | None = None

    def key(self, version: str) -> str:
        """Sixteen hexadecimal digits that stand for the point, evaluated by a model of this version."""
        parts = [part and asdict(part) for part in (self.core, self.memory, self.machine, self.workload)]
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
    """What to try: every core beside every memory at every workload and preload depth, and every machine at every
    workload.

    Attributes
    ----------
    name:     the file's
    variants: by kind (cores, memories, machines, workloads), in the order of the file
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
        cores, memories, machines, workloads = (self.variants[kind] for kind in _KINDS)
        on_cores = (self._point(preload, {"core": core, "memory": memory, "workload": workload})
                    for core, memory, workload in itertools.product(cores, memories, workloads)
                    for preload in self.preloads)
        on_machines = (self._point(None, {"machine": machine, "workload": workload})
                       for machine, workload in itertools.product(machines, workloads))
        return tuple({point.key(""): point for point in itertools.chain(on_cores, on_machines)}.values())

    def _point(self, preload: int | None, parts: Mapping[str, _Variant]) -> Point:
        axes: dict[str, Any] = {**{kind.key: None for kind in _KINDS.values()},
                                **{key: variant.name for key, variant in parts.items()}, "preload": preload}
        for axis in self.axes[len(axes):]:
            key, _, field = axis.partition(".")
            value = parts[key].values.get(field, getattr(parts[key].made, field, None)) if key in parts else None
            axes[axis] = list(value) if isinstance(value, tuple) else value
        reasons = (variant.reason for variant in parts.values() if variant.reason)
        return Point(axes=axes, preload=preload, reason=next(reasons, None),
                     **{"core": None, "memory": None, **{key: variant.made for key, variant in parts.items()}})

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
        # Machines alone, or cores beside memories, or both
        needed = ("workloads", *([] if "machines" in values else ["cores", "memories"]))
        if ("cores" in values) != ("memories" in values):
            needed = "cores", "memories"
        for key in _KINDS:
            if key in values or key in needed:
                require(isinstance(values.get(key), list) and values[key], key, "a list of at least one entry",
                        values.get(key))
        depths = values.get("preload", 1)
        depths = depths if isinstance(depths, list) else [depths]
        require(depths and all(type(depth) is int and depth in _PRELOADS for depth in depths), "preload",
                "0, 1, 2 or a list of them", values.get("preload"))
        entries = {key: [_Entry.of(kind, entry, f"{key}[{index}]") for index, entry in enumerate(values.get(key, ()))]
                   for key, kind in _KINDS.items()}
        cores, memories, machines, workloads = (sum(entry.count for entry in found) for found in entries.values())
        points = (len(depths) * cores * memories + machines) * workloads
        require(points <= MOST_POINTS, "a space", f"of at most {MOST_POINTS:,} points", points)
        return cls(name=name, preloads=tuple(depths),
                   variants={key: [variant for entry in found for variant in entry.variants()]
                             for key, found in entries.items()})


@dataclass(frozen=True)
class _Entry:
    """A file, and the values that replace its own, a list for each field."""

    kind: _Kind
    loaded: Any
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
        loaded = kind.load(entry[kind.key])  # what is wrong without any replacement is wrong with the space
        types_of = {field.name: field.type for field in fields(loaded) if field.name not in _FIXED}
        choices = {}
        for key, given in entry.items():
            if key == kind.key:
                continue
            if key not in types_of:
                raise AmlaError(f"{where}: unknown key {shown(key)}; known keys are {kind.key}, {', '.join(types_of)}")
            choices[key] = _choices(given, types_of[key], f"{where}.{key}")
        return cls(kind, loaded, path, base, choices)

    @property
    def count(self) -> int:
        return math.prod(map(len, self.choices.values()))

    def variants(self) -> Iterator[_Variant]:
        for chosen in itertools.product(*self.choices.values()):
            values = dict(zip(self.choices, chosen, strict=True))
            folder = {"folder": self.path.parent} if isinstance(self.loaded, Workload) else {}
            try:
                if isinstance(self.loaded, Machine):
                    made = replace(self.loaded, **values)
                else:
                    made = type(self.loaded).from_dict({**self.base, **values}, source=self.path.name, **folder)
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
