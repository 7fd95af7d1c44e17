"""A workload on several cores with its data: memory, and the registers of every core and phase."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from amla.rtl.config import CoreConfig

from ..compiler.key_cache import KeyCache, KeySource, Listed, Paged
from ..compiler.loads import Addresses
from ..compiler.memory_map import Job, build_job
from ..compiler.program import Command, Program, assemble
from ..memory.preset import IDEAL, Memory
from ..workload.inputs import Inputs
from ..workload.workload import Workload
from .partition import Partition, partition
from .programs import programs_of

__all__ = ["SharedJob", "share_job"]

_PAGE = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedJob:
    """Programs of cores that share a memory.

    Attributes
    ----------
    job:       the same workload on one core: its data, where O and LSE are, and its numerics but for the cuts
    partition: who does what
    phases:    per phase, per core its program, or None
    memory:    uint8, initial content from the job's base on, programs included
    """

    job: Job
    partition: Partition
    phases: tuple[tuple[Program | None, ...], ...]
    memory: np.ndarray = field(repr=False)

    def registers(self) -> list[list[Mapping[str, int] | None]]:
        """Per phase, per core the registers to write before START, by name; or None: the core stays idle."""
        return [[None if program is None else replace(self.job, program=program).registers for program in phase]
                for phase in self.phases]

    @property
    def commands(self) -> list[list[Sequence[Command] | None]]:
        """The commands of every program."""
        return [[None if program is None else program.commands for program in phase] for phase in self.phases]

    @property
    def places(self) -> list[list[int | None]]:
        """Where every program begins in GM."""
        return [[None if program is None else program.symbols["PROGRAM"] for program in phase]
                for phase in self.phases]


def share_job(workload: Workload, inputs: Inputs, config: CoreConfig, cores: int, *, preload: int = 1,
              memory: Memory = IDEAL, row_parts: int | None = None, cut: int | None = None) -> SharedJob:
    """Share a workload out over cores, and lay it out.

    Parameters
    ----------
    workload, inputs, config, preload, memory: as of :func:`~amla.sw.compiler.memory_map.build_job`
    row_parts, cut: as of :func:`~.partition.partition`

    Raises
    ------
    AmlaError: as of these two.
    """
    job = build_job(workload, inputs, config, preload=preload, memory=memory)
    load, beat = job.plan.workload, config.axi_data_bytes
    share = partition(load, config, cores, rate=memory.sustained(beat), total_rate=memory.sustained(beat),
                      row_parts=row_parts, cut=cut)
    image = bytearray(job.memory.tobytes())

    def place() -> int:
        """The next page behind what there is."""
        image.extend(b"\xa5" * (-(job.base + len(image)) % _PAGE))
        return job.base + len(image)

    sink = None
    if inputs.attn_sink is not None:
        sink = place()
        image.extend(_sinks(inputs.attn_sink, load, config))
    symbols, partials = job.program.symbols, place()
    addresses = Addresses(q=symbols["Q"], o=symbols["O"], lse=symbols["LSE"], sink=sink)
    # Where lists go is known when the partial results are: so once without, for their size.
    options: dict[str, Any] = {
        "preload": preload, "memory": memory, "kv_block": job.plan.kv_block, "partials": partials,
        "listed": workload.topk is not None}
    end = programs_of(share, load, config, _keys(job, inputs, partials), addresses, **options).end
    image.extend(b"\xa5" * (end - partials))
    keys = _keys(job, inputs, place())
    phases = programs_of(share, load, config, keys, addresses, **options)
    if isinstance(keys, Listed):
        image.extend(keys.image)
    binaries = [[None if commands is None else assemble(commands) for commands in phase]
                for phase in (phases.shares, phases.merges)]
    places = [[None if binary is None else _append(image, binary, place) for binary in phase] for phase in binaries]
    place()
    read, (low, high) = (symbols["Q"], job.base + len(image)), job.program.write_window

    def program(commands: Sequence[Command] | None, binary: bytes | None, address: int | None,
                window: tuple[int, int]) -> Program | None:
        if commands is None or binary is None or address is None:
            return None
        return Program(commands=tuple(commands), binary=binary, scale_word=job.program.scale_word, read_window=read,
                       write_window=window, symbols={**symbols, "PROGRAM": address})

    def window(core: int) -> tuple[int, int]:
        partial = [one.partial for one in share.shares[core]]
        return (partials, end) if all(partial) else (low, end if any(partial) else high)

    made = [tuple(program(*parts, window(core)) for core, parts in enumerate(
        zip(phases.shares, binaries[0], places[0], strict=True)))]
    if phases.merges:
        made.append(tuple(program(*parts, (low, high)) for parts in zip(
            phases.merges, binaries[1], places[1], strict=True)))
    return SharedJob(job=job, partition=share, phases=tuple(made),
                     memory=np.frombuffer(bytes(image), np.uint8).copy())


def _append(image: bytearray, binary: bytes, place) -> int:
    address = place()
    image.extend(binary)
    return address


def _keys(job: Job, inputs: Inputs, lists: int) -> KeySource:
    """Where the keys are; lists begin at an address."""
    load, symbols = job.workload, job.program.symbols
    cache = KeyCache.of(load, base=symbols["KV"])
    if inputs.block_table is not None:
        return Paged(cache, inputs.block_table)
    caches = [cache]
    if load.extra is not None:
        caches.append(KeyCache.of(load, base=symbols["EXTRA"], page_size=load.extra.page_size))
    return Listed(caches, inputs.sequences, lists, job.config.axi_data_bytes)


def _sinks(sinks: np.ndarray, load: Workload, config: CoreConfig) -> bytes:
    """The beats of sinks of a request's row groups."""
    groups, m = -(-load.rows // config.m), config.m
    beats = np.zeros((groups, config.axi_data_bytes), np.uint8)
    rows = np.arange(groups * m).reshape(groups, m) % len(sinks)
    beats[:, :4 * m] = np.ascontiguousarray(sinks[rows]).view(np.uint8)
    return beats.tobytes()
