"""Where everything lies in GM, and a job: a program with its data, ready for the simulator or the core."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from amla.model import Numerics
from amla.model.attention.softmax import softmax_scale_word
from amla.model.fp.formats import OPERANDS, dtype_of
from amla.rtl.config import CoreConfig
from amla.rtl.isa import HALFWORD_BITS, Opcode

from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..workload.inputs import Inputs, KeySequence
from ..workload.workload import Workload
from .key_cache import ENTRY_BYTES, FP8_FLAGS, KeyCache, Listed, Paged, bytes_of_row
from .loads import Addresses
from .plan import Plan
from .program import Command, Program, assemble
from .schedule import schedule
from .tiling import plan_tiles

__all__ = ["Job", "build_job", "bytes_read", "check_cache", "check_sinks", "sequences_of"]

#: First byte of it all: not zero, so that a lost base address meets the windows.
_BASE, _SMALL_BASE = 0x1000_0000, 0x1000
_ALIGNMENT = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A program, its memory and its registers.

    The memory is one array from ``base`` on: O and LSE (the write window), an unused gap, then Q, KV cache
    and program (the read window). Outside of the inputs and the program it holds 0xA5.

    Attributes
    ----------
    config, workload, plan: what was asked for and how it is done
    program: commands with their symbols and windows
    base:    GM address of the first byte of ``memory``
    memory:  uint8, initial content
    """

    config: CoreConfig
    workload: Workload
    plan: Plan
    program: Program
    base: int
    memory: np.ndarray = field(repr=False)

    @cached_property
    def registers(self) -> Mapping[str, int]:
        """Registers to write before START, by name."""
        values = {"PROGRAM_LENGTH": 8 * len(self.program.binary) // HALFWORD_BITS, "SCALE": self.program.scale_word}
        addresses = {
            "PROGRAM_BASE": self.program.symbols["PROGRAM"],
            "READ_BASE": self.program.read_window[0], "READ_LIMIT": self.program.read_window[1],
            "WRITE_BASE": self.program.write_window[0], "WRITE_LIMIT": self.program.write_window[1],
        }
        for name, address in addresses.items():
            values[f"{name}_LO"], values[f"{name}_HI"] = address & 0xFFFFFFFF, address >> 32
        return values

    @property
    def numerics(self) -> Numerics:
        """Parameters for :func:`amla.model.mla_decode`."""
        config = self.config
        return Numerics(kv_block=self.plan.kv_block, k=config.k, acc_frac_bits=config.acc_frac_bits,
                        comp_bits=config.comp_bits, p_format=config.p_format)

    @property
    def output_base(self) -> int:
        """GM address of the output region, the write window."""
        return self.program.write_window[0]

    @property
    def output_bytes(self) -> int:
        """Size of the output region."""
        return self.program.write_window[1] - self.program.write_window[0]

    @property
    def bytes_read(self) -> int:
        """Bytes that the program's LOADs read."""
        return bytes_read(self.program.commands)

    def unpack(self, output: bytes | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """O ([b, s_q, h_q, dv] in the core's format) and LSE (float32 [b, h_q, s_q]) from the output region."""
        if isinstance(output, bytes | bytearray):
            output = np.frombuffer(output, np.uint8)
        region = np.asarray(output, np.uint8)
        if region.shape != (self.output_bytes,):
            raise ValueError(f"output must be {self.output_bytes} bytes, not shape {region.shape!r}")
        load, layout = self.workload, self.plan.workload
        shape = len(load.lengths), load.q_tokens, load.heads
        rows = len(layout.lengths) * layout.rows
        out = region[:2 * rows * load.head_dim_v].copy().view(dtype_of(OPERANDS[self.config.format]))
        start = self.program.symbols["LSE"] - self.output_base
        beats = region[start:].reshape(len(layout.lengths), -1, self.config.axi_data_bytes)[..., :4 * self.config.m]
        lse = np.ascontiguousarray(beats).view(np.float32).reshape(len(layout.lengths), -1)[:, :layout.rows]
        return (out.reshape(*shape, load.head_dim_v),
                np.ascontiguousarray(lse.reshape(shape).transpose(0, 2, 1)))

    def output_beat(self, array: str, index: Sequence[int]) -> int:
        """Beat of the output region that holds an element.

        Parameters
        ----------
        array: "O" or "LSE"
        index: (request, token, head, column) of O; (request, head, token) of LSE
        """
        load, layout, beat = self.workload, self.plan.workload, self.config.axi_data_bytes
        request, token, head = index[:3] if array == "O" else (index[0], index[2], index[1])
        row = (request * load.q_tokens + token) * load.heads + head
        if array == "O":
            return 2 * (row * load.head_dim_v + index[3]) // beat
        sequence, row = divmod(row, layout.rows)
        group = sequence * -(-layout.rows // self.config.m) + row // self.config.m
        return (self.program.symbols["LSE"] - self.output_base) // beat + group


def bytes_read(commands: Iterable[Command]) -> int:
    """Bytes that LOADs and GATHERs read, lists included."""
    return sum(command["rows"] * (bytes_of_row(command.flags, command["cols"])
                                  + (ENTRY_BYTES if command.opcode == Opcode.GATHER else 0))
               for command in commands if command.opcode in (Opcode.LOAD, Opcode.GATHER))


def build_job(workload: Workload, inputs: Inputs, config: CoreConfig, *, preload: int = 1,
              memory: Memory = IDEAL, base: int | None = None) -> Job:
    """Plan, schedule and lay out a workload.

    Parameters
    ----------
    workload: what to compute; its shape must be that of the inputs
    inputs:   the arrays
    config:   the core
    preload:  0 (serial baseline), 1 or 2
    memory:   what the order of the program expects
    base:     first byte of it all, a multiple of 4 KiB; so that jobs of several cores lie side by side

    Raises
    ------
    AmlaError:  inputs and workload differ, the workload does not suit the core, or memory does not fit its
                addresses.
    ValueError: a base that is none.
    """
    _check_shapes(workload, inputs)
    _check_types(workload, inputs, config)
    listed = inputs.indices is not None
    plan = plan_tiles(sequences_of(workload, inputs.sequences) if listed else workload, config, preload=preload,
                      memory=memory, listed=listed)
    try:
        scale_word = softmax_scale_word(workload.scale)
    except ValueError as error:
        raise AmlaError(str(error)) from None

    requests, beat = len(plan.workload.lengths), config.axi_data_bytes
    o_bytes = 2 * requests * plan.workload.rows * workload.head_dim_v
    lse_bytes = requests * -(-plan.workload.rows // config.m) * beat
    if base is None:
        base = _BASE if config.axi_address_bits > 30 else _SMALL_BASE
    if base < 0 or base % _ALIGNMENT:
        raise ValueError(f"base must be a multiple of {_ALIGNMENT}, not {base!r}")
    o_base = base
    lse_base = _aligned(o_base + o_bytes, beat)
    write_limit = lse_base + lse_bytes

    image = _Image(_aligned(write_limit, _ALIGNMENT) + _ALIGNMENT)
    q_base = image.add("Q", np.ascontiguousarray(inputs.q).view(np.uint8))
    caches = [KeyCache.of(workload)]
    arrays = [inputs.kv_cache]
    if workload.extra is not None and inputs.extra_k_cache is not None:
        caches.append(KeyCache.of(workload, page_size=workload.extra.page_size))
        arrays.append(inputs.extra_k_cache)
    caches = [replace(cache, base=image.add(name, cache.image(array)))
              for name, cache, array in zip(("KV", "EXTRA"), caches, arrays, strict=False)]
    sink_base = None if inputs.attn_sink is None else image.add("SINK", _sinks(inputs.attn_sink, plan))
    lists = Listed(caches, inputs.sequences, image.end, beat)
    addresses = Addresses(q=q_base, o=o_base, lse=lse_base, sink=sink_base)
    keys = lists if inputs.block_table is None else Paged(caches[0], inputs.block_table)
    commands, annotations = schedule(plan, addresses, keys)
    if lists.image:
        image.add("LISTS", np.frombuffer(lists.image, np.uint8))
    binary = assemble(commands)
    image.add("PROGRAM", np.frombuffer(binary, np.uint8))
    read_limit = _aligned(image.begin + image.size, beat)
    if read_limit > 1 << config.axi_address_bits:
        raise AmlaError(f"the workload's memory ends at {read_limit:#x}, past the {config.axi_address_bits} "
                        f"address bits of {config.name}")
    program = Program(
        commands=tuple(commands), binary=binary, scale_word=scale_word, read_window=(q_base, read_limit),
        write_window=(o_base, write_limit), annotations=tuple(annotations),
        symbols={**image.symbols, "O": o_base, "LSE": lse_base},
    )
    memory_image = np.full(read_limit - o_base, 0xA5, np.uint8)
    for name, content in image.parts.items():
        start = image.symbols[name] - o_base
        memory_image[start:start + content.size] = content
    return Job(config=config, workload=workload, plan=plan, program=program, base=o_base, memory=memory_image)


@dataclass
class _Image:
    """Arrays of the read window, each at a multiple of 4 KiB: name -> address, name -> bytes."""

    begin: int
    size: int = 0
    symbols: dict[str, int] = field(default_factory=dict)
    parts: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """Address of the next array."""
        return _aligned(self.begin + self.size, _ALIGNMENT)

    def add(self, name: str, content: np.ndarray) -> int:
        """Put an array behind the others; returns its address."""
        self.symbols[name], self.parts[name] = self.end, content.reshape(-1)
        self.size = self.symbols[name] + content.size - self.begin
        return self.symbols[name]


def sequences_of(workload: Workload, sequences: Iterable[KeySequence]) -> Workload:
    """A sparse workload as the core sees it: each query token's heads with the keys of its list, packed."""
    return replace(workload, q_tokens=1, lengths=tuple(sequence.length for sequence in sequences), topk=None,
                   topk_lengths=None, window=0, extra=None)


def _sinks(sinks: np.ndarray, plan: Plan) -> np.ndarray:
    """The words of SINK, each in the low bytes of a beat, uint8[words, beat]."""
    check_sinks(plan)
    config, words = plan.config, plan.sink_words
    rows = np.arange(words * config.m).reshape(words, config.m)
    beats = np.zeros((words, config.axi_data_bytes), np.uint8)
    beats[:, :4 * config.m] = np.ascontiguousarray(sinks[rows % len(sinks)]).view(np.uint8)
    return beats


def check_sinks(plan: Plan) -> None:
    """Refuse a plan whose sinks do not fit into SINK."""
    config, words = plan.config, plan.sink_words
    if words > config.state_words:
        raise AmlaError(f"state_rows of {config.name} is too small for the sinks of {plan.workload.heads} heads: they "
                        f"need {words * config.m}, not {config.state_rows}")


def _aligned(address: int, multiple: int) -> int:
    return -(-address // multiple) * multiple


def _check_shapes(workload: Workload, inputs: Inputs) -> None:
    def shape(array: np.ndarray | None, axis: int) -> int | None:
        return None if array is None else array.shape[axis]

    extra = workload.extra
    lengths = None if inputs.cache_seqlens is None else tuple(map(int, inputs.cache_seqlens))
    for name, wanted, got in (
        ("q", (len(workload.lengths), workload.q_tokens, workload.heads, workload.head_dim), inputs.q.shape),
        ("page of kv_cache", workload.page_size, inputs.kv_cache.shape[1]),
        ("cache_seqlens", workload.lengths if workload.topk is None else None, lengths),
        ("topk of indices", workload.topk, shape(inputs.indices, 2)),
        ("page of extra_k_cache", extra and extra.page_size, shape(inputs.extra_k_cache, 1)),
        ("topk of extra_indices_in_kvcache", extra and extra.topk, shape(inputs.extra_indices_in_kvcache, 2)),
        ("heads of attn_sink", workload.heads if workload.sink else None, shape(inputs.attn_sink, 0)),
    ):
        if wanted != got:
            raise AmlaError(f"{name} must be {wanted!r} as in the workload, not {got!r}")


def check_cache(workload: Workload, config: CoreConfig) -> None:
    """Refuse a cache that the core does not read."""
    cache = workload.cache or config.format
    if cache in FP8_FLAGS and not config.reads_fp8:
        raise AmlaError(f"cache must have 16 bits on {config.name}, which computes in {config.format} and has beats of "
                        f"{config.axi_data_bytes} bytes, not {cache}")
    if cache not in FP8_FLAGS and cache != config.format:
        raise AmlaError(f"cache must be {config.format}, as {config.name} computes in it, not {cache}")


def _check_types(workload: Workload, inputs: Inputs, config: CoreConfig) -> None:
    check_cache(workload, config)
    dtype, cache = dtype_of(OPERANDS[config.format]), workload.cache or config.format
    if inputs.q.dtype != dtype:
        raise AmlaError(f"q must be an array of {dtype}, as {config.name} computes in {config.format}, "
                        f"not of {inputs.q.dtype}")
    if inputs.cache != cache:
        raise AmlaError(f"kv_cache must be {cache} as in the workload, not {inputs.cache}")
