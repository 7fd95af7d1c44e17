"""Machine: what a workload is predicted on, loaded from YAML under ``configs/machines``."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from amla.rtl.config import CoreConfig
from amla.rtl.errors import shown
from amla.rtl.yaml_file import load_yaml

from ..errors import AmlaError
from ..memory.preset import Memory
from ..memory.timing import MOST_BEATS, Cache
from ..workload.rules import integer, integers, known_keys, require
from ..workload.workload import MAX_TOKENS, Workload

__all__ = ["KINDS", "UNLIMITED", "VECTOR_OPERATIONS", "AmlaMachine", "AscendMachine", "GpuMachine", "Machine",
           "Published", "Route", "load_machine"]

_T = TypeVar("_T")

#: Bytes a second that limit nothing.
UNLIMITED = 1e18

#: Operations of a vector core, on repeats of 64 FP32 words: each has [cycles to start, cycles a repeat].
VECTOR_OPERATIONS = ("add", "cast", "div", "exp", "fill", "max", "mul", "muls", "row_max", "row_sum", "sub")


def _number(low: float, high: float, **options: Any) -> Any:
    """A field for a number from ``low`` to ``high``."""
    return field(metadata={"range": (low, high)}, **options)


def _count(high: int) -> Any:
    """A field for an integer from 1 to ``high``."""
    return field(metadata={"range": (1, high), "integer": True})


def _require_number(key: str, value: object, low: float, high: float) -> None:
    require(isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high, key,
            f"a number from {low:g} to {high:g}", value)


def _require_text(key: str, value: object) -> None:
    require(isinstance(value, str) and value, key, "a string", value)


class _Checked:
    """A frozen dataclass whose numbers are in the range of their field."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            if "range" not in one.metadata:
                continue
            (low, high), value = one.metadata["range"], getattr(self, one.name)
            if one.metadata.get("integer"):
                integer(one.name, value, low, high)
                continue
            _require_number(one.name, value, low, high)


def _build(cls: Callable[..., _T], source: str, values: Any) -> _T:
    """A dataclass from a mapping; unknown, missing and wrong keys are one AmlaError that names ``source``."""
    declared = fields(cls)  # type: ignore[arg-type]
    values = known_keys(source, values, [one.name for one in declared])
    for one in declared:
        if one.name not in values and one.default is MISSING and one.default_factory is MISSING:
            raise AmlaError(f"{source}: missing key {one.name!r}")
    try:
        return cls(**values)
    except AmlaError as error:
        raise AmlaError(f"{source}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Route(_Checked):
    """A way between two memories.

    Attributes
    ----------
    bytes_per_cycle: rate, in cycles of the machine's clock
    start:           cycles of each transfer before its first byte
    """

    bytes_per_cycle: float = _number(0.125, 1e9)
    start: float = _number(0, 1e6, default=0.0)


@dataclass(frozen=True, kw_only=True)
class Published(_Checked):
    """A figure that others published, or that was recorded, for one shape.

    Attributes
    ----------
    heads, q_tokens: as in a workload
    lengths:         keys of each request; or
    batch, keys:     so many requests of so many keys
    us, tflops:      time in microseconds, or useful TFLOPS: one of the two
    what:            what was measured
    source:          where the figure is from
    used:            a constant of the machine was taken from it, so it does not count as predicted
    """

    what: str
    source: str
    heads: int = _count(1024)
    q_tokens: int = field(default=1, metadata={"range": (1, MAX_TOKENS), "integer": True})
    lengths: tuple[int, ...] | None = None
    batch: int | None = None
    keys: int | None = None
    us: float | None = None
    tflops: float | None = None
    used: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require((self.lengths is None) == (self.batch is not None and self.keys is not None), "lengths",
                "given, or else batch and keys", self.lengths)
        if self.lengths is None:
            object.__setattr__(self, "lengths", (integer("keys", self.keys, 0, 2**31 - 1),)
                               * integer("batch", self.batch, 1, 65_536))
        else:
            integers("lengths", self.lengths, 0, 2**31 - 1)
        require((self.us is None) != (self.tflops is None), "us", "given, or else tflops", self.us)
        _require_number("us" if self.tflops is None else "tflops", self.us if self.tflops is None else self.tflops,
                        1e-9, 1e12)
        for key in ("what", "source"):
            _require_text(key, getattr(self, key))
        require(type(self.used) is bool, "used", "true or false", self.used)

    def of(self, workload: Workload) -> bool:
        """Whether it is for the shape of a workload."""
        return (self.heads, self.q_tokens, self.lengths) == (workload.heads, workload.q_tokens, workload.lengths)

    def seconds(self, flops: float) -> float:
        """Time of so many useful FLOPs."""
        return flops / self.tflops / 1e12 if self.tflops is not None else self.us / 1e6  # type: ignore[operator]


@dataclass(frozen=True, kw_only=True)
class Machine(_Checked):
    """What all machines have.

    Attributes
    ----------
    name:         label
    about:        one line: what it is, and which program runs on it
    peak_flops:   FLOPS of the matrix engines, by the data sheet
    memory_bytes_per_second: rate of the memory, by the data sheet
    memory_share: share of that rate that programs reach
    published:    figures to lay beside predictions
    """

    kind: ClassVar[str]

    name: str
    about: str
    peak_flops: float = _number(1e6, 1e21)
    memory_bytes_per_second: float = _number(1e3, UNLIMITED)
    memory_share: float = _number(0.01, 1)
    published: tuple[Published, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("name", "about"):
            _require_text(key, getattr(self, key))
        require(isinstance(self.published, tuple), "published", "a list", self.published)
        object.__setattr__(self, "published", tuple(
            one if isinstance(one, Published) else _build(Published, f"published[{index}]", one)
            for index, one in enumerate(self.published)))


@dataclass(frozen=True, kw_only=True)
class AscendMachine(Machine):
    """Cube and vector cores that exchange everything through global memory: the Ascend 910 (A2, A3).

    Attributes
    ----------
    dies:            each with a memory, an L2 and cores of its own; requests are dealt out to them
    cores:           cube cores of a die
    vectors:         vector cores beside each cube core
    clock_hz:        of all cores
    fractal:         the cube multiplies fractal x fractal by fractal x fractal words a cycle
    mad_start:       cycles of a matrix instruction before its first fractal
    gm_l1, gm_ub, ub_gm, l0c_gm, l1_l0a, l1_l0b: routes; those of UB are each vector core's
    vector:          [start, cycles a repeat of 64 words] of each of VECTOR_OPERATIONS
    vector_barrier:  cycles from one operation of a vector core to one that needs its result
    l2_read_bytes_per_second, l2_write_bytes_per_second: what the L2 of a die gives to all cores, and takes
    sync_cycles:     cube and vector cores' hand-shakes, a tile
    launch_cycles:   from the launch to the first core's first instruction, and back
    dispatch_cycles: from the start of one core to that of the next
    bubble_cycles:   of a launch, of a pipeline that is not deep enough
    """

    kind: ClassVar[str] = "ascend"

    dies: int = _count(1024)
    cores: int = _count(1024)
    vectors: int = _count(16)
    clock_hz: float = _number(1e6, 1e11)
    fractal: int = _count(256)
    mad_start: float = _number(0, 1e4)
    gm_l1: Route
    gm_ub: Route
    ub_gm: Route
    l0c_gm: Route
    l1_l0a: Route
    l1_l0b: Route
    vector: Mapping[str, tuple[float, float]]
    vector_barrier: float = _number(0, 1e4)
    l2_read_bytes_per_second: float = _number(1e3, UNLIMITED)
    l2_write_bytes_per_second: float = _number(1e3, UNLIMITED)
    sync_cycles: float = _number(0, 1e7)
    launch_cycles: float = _number(0, 1e9)
    dispatch_cycles: float = _number(0, 1e7)
    bubble_cycles: float = _number(0, 1e9)

    def __post_init__(self) -> None:
        super().__post_init__()
        for one in fields(self):
            value = getattr(self, one.name)
            if one.type is Route and not isinstance(value, Route):
                object.__setattr__(self, one.name, _build(Route, one.name, value))
        require(isinstance(self.vector, Mapping) and sorted(self.vector) == sorted(VECTOR_OPERATIONS), "vector",
                f"a mapping of {', '.join(VECTOR_OPERATIONS)}", self.vector)
        for name, cost in self.vector.items():
            require(isinstance(cost, list | tuple) and len(cost) == 2, f"vector: {name}",
                    "two numbers, [start, cycles a repeat]", cost)
            for cycles in cost:
                _require_number(f"vector: {name}", cycles, 0, 1e6)


@dataclass(frozen=True, kw_only=True)
class GpuMachine(Machine):
    """A GPU with FlashMLA's dense decode.

    Attributes
    ----------
    multiprocessors: of the GPU
    flops_per_cycle: of one multiprocessor's tensor cores
    clock_hz:        under load
    tensor_share:    share of the tensor cores' rate at that clock that the kernel's inner loop reaches
    launch_us:       launch and end of a kernel
    round_trip_ns:   a read of memory that the next one waits for
    """

    kind: ClassVar[str] = "gpu"

    multiprocessors: int = _count(65_536)
    flops_per_cycle: float = _number(1, 1e9)
    clock_hz: float = _number(1e6, 1e11)
    tensor_share: float = _number(0.01, 1)
    launch_us: float = _number(0, 1e6)
    round_trip_ns: float = _number(0, 1e6)


@dataclass(frozen=True, kw_only=True)
class AmlaMachine(Machine):
    """AMLA cores that share a memory.

    Attributes
    ----------
    core:          configuration of a core, by name
    cores:         how many
    clock_hz:      of all cores
    memory:        fields of :class:`~amla.sw.memory.preset.Memory`, for all cores together
    cache_bytes, cache_bytes_per_cycle, cache_latency: of the cache that all requests go through; 0 bytes: there is none
    launch_cycles: from the launch to the START of all cores
    sync_cycles:   from the end of the last core to the next START, or to the end
    """

    kind: ClassVar[str] = "amla"

    core: str
    cores: int = _count(1024)
    clock_hz: float = _number(1e6, 1e11)
    memory: Mapping[str, Any]
    cache_bytes: int = field(default=0, metadata={"range": (0, 1 << 34), "integer": True})
    cache_bytes_per_cycle: float = _number(0.125, 1e9, default=1.0)
    cache_latency: int = field(default=1, metadata={"range": (1, 10_000), "integer": True})
    launch_cycles: float = _number(0, 1e9)
    sync_cycles: float = _number(0, 1e9)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_text("core", self.core)
        core, memory = CoreConfig.load(self.core), self.shared_memory
        if self.cache_bytes:
            require(memory.bytes_per_cycle is not None, "memory", "given a rate, as there is a cache", self.memory)
            require(memory.interleave_bytes <= MOST_BEATS * core.axi_data_bytes, "memory",
                    f"given interleave_bytes of at most {MOST_BEATS} beats, as there is a cache", self.memory)
            require(self.cache_bytes >= memory.interleave_bytes, "cache_bytes",
                    f"0, or at least interleave_bytes = {memory.interleave_bytes}", self.cache_bytes)

    @property
    def shared_memory(self) -> Memory:
        """The memory of all cores."""
        return Memory.from_dict({"name": self.name, **self.memory} if isinstance(self.memory, Mapping) else self.memory,
                                source="memory")

    @property
    def cache(self) -> Cache | None:
        """What all requests go through."""
        return Cache(bytes=self.cache_bytes, bytes_per_cycle=self.cache_bytes_per_cycle,
                     latency=self.cache_latency) if self.cache_bytes else None


#: Kinds of machines by the ``kind`` of their file.
KINDS: dict[str, type[Machine]] = {one.kind: one for one in (AmlaMachine, AscendMachine, GpuMachine)}


def load_machine(name_or_path: str | Path) -> Machine:
    """Load ``configs/machines/<name>.yaml`` or a YAML file given by its path.

    Raises
    ------
    AmlaError: it cannot be read, or a key or value breaks its rule.
    """
    path, values = load_yaml(name_or_path, kind="machine", folder="machines", error=AmlaError)
    if not isinstance(values, dict):
        raise AmlaError(f"{path.name} must be a mapping of keys to values, not {shown(values)}")
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise AmlaError(f"{path.name}: kind must be one of {', '.join(KINDS)}, not {shown(kind)}")
    return _build(KINDS[kind], path.name, {"name": path.stem, **values})
