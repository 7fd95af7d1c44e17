"""Where everything lies in GM, and a job: a program with its data, ready for the simulator or the core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from amla.model import Numerics
from amla.model.attention.softmax import softmax_scale_word
from amla.model.fp.formats import OPERANDS, dtype_of
from amla.rtl.config import CoreConfig
from amla.rtl.isa import HALFWORD_BITS

from ..errors import AmlaError
from ..memory.preset import IDEAL, Memory
from ..workload.inputs import Inputs
from ..workload.workload import Workload
from .loads import Addresses
from .plan import Plan
from .program import Program, assemble
from .schedule import schedule
from .tiling import plan_tiles

__all__ = ["Job", "build_job"]

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
        return sum(2 * command["rows"] * command["cols"] for command in self.program.commands
                   if command.opcode.name == "LOAD")

    def unpack(self, output: bytes | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """O ([b, s_q, h_q, dv] in the core's format) and LSE (float32 [b, h_q, s_q]) from the output region."""
        if isinstance(output, bytes | bytearray):
            output = np.frombuffer(output, np.uint8)
        region = np.asarray(output, np.uint8)
        if region.shape != (self.output_bytes,):
            raise ValueError(f"output must be {self.output_bytes} bytes, not shape {region.shape!r}")
        load, m = self.workload, self.config.m
        requests, tokens, heads = len(load.lengths), load.q_tokens, load.heads
        o_bytes = 2 * requests * load.rows * load.head_dim_v
        out = region[:o_bytes].copy().view(dtype_of(OPERANDS[self.config.format]))
        start = self.program.symbols["LSE"] - self.output_base
        beats = region[start:].reshape(requests, -1, self.config.axi_data_bytes)[..., :4 * m]
        lse = np.ascontiguousarray(beats).view(np.float32).reshape(requests, -1)[:, :load.rows]
        out = out.reshape(requests, tokens, heads, load.head_dim_v)
        return out, np.ascontiguousarray(lse.reshape(requests, tokens, heads).transpose(0, 2, 1))

    def output_beat(self, array: str, index: Sequence[int]) -> int:
        """Beat of the output region that holds an element.

        Parameters
        ----------
        array: "O" or "LSE"
        index: (request, token, head, column) of O; (request, head, token) of LSE
        """
        load, beat = self.workload, self.config.axi_data_bytes
        if array == "O":
            request, token, head, column = index
            row = request * load.rows + token * load.heads + head
            return 2 * (row * load.head_dim_v + column) // beat
        request, head, token = index
        group = request * -(-load.rows // self.config.m) + (token * load.heads + head) // self.config.m
        return (self.program.symbols["LSE"] - self.output_base) // beat + group


def build_job(workload: Workload, inputs: Inputs, config: CoreConfig, *, preload: int = 1,
              memory: Memory = IDEAL) -> Job:
    """Plan, schedule and lay out a workload.

    Parameters
    ----------
    workload: what to compute; its shape must be that of the inputs
    inputs:   the arrays
    config:   the core
    preload:  0 (serial baseline), 1 or 2
    memory:   what the order of the program expects

    Raises
    ------
    AmlaError: inputs and workload differ, the workload does not suit the core, or memory does not fit its
               addresses.
    """
    if workload.fp8 or workload.sink or inputs.block_table is None:
        raise AmlaError(f"{workload.name}: an FP8 cache, topk and sink are computed by the golden model alone so far")
    _check_shapes(workload, inputs)
    dtype = dtype_of(OPERANDS[config.format])
    for name, array in (("q", inputs.q), ("kv_cache", inputs.kv_cache)):
        if array.dtype != dtype:
            raise AmlaError(f"{name} must be an array of {dtype}, as {config.name} computes in {config.format}, "
                            f"not of {array.dtype}")
    plan = plan_tiles(workload, config, preload=preload, memory=memory)
    try:
        scale_word = softmax_scale_word(workload.scale)
    except ValueError as error:
        raise AmlaError(str(error)) from None

    q = np.ascontiguousarray(inputs.q).view(np.uint8).reshape(-1)
    kv = np.ascontiguousarray(inputs.kv_cache).view(np.uint8).reshape(-1)
    requests, beat = len(workload.lengths), config.axi_data_bytes
    o_bytes = 2 * requests * workload.rows * workload.head_dim_v
    lse_bytes = requests * -(-workload.rows // config.m) * beat

    o_base = _BASE if config.axi_address_bits > 30 else _SMALL_BASE
    lse_base = _aligned(o_base + o_bytes, beat)
    write_limit = lse_base + lse_bytes
    q_base = _aligned(write_limit, _ALIGNMENT) + _ALIGNMENT
    kv_base = _aligned(q_base + q.size, _ALIGNMENT)
    program_base = _aligned(kv_base + kv.size, _ALIGNMENT)
    addresses = Addresses(q=q_base, kv=kv_base, o=o_base, lse=lse_base)
    commands, annotations = schedule(plan, addresses, inputs.block_table)
    binary = assemble(commands)
    read_limit = _aligned(program_base + len(binary), beat)
    if read_limit > 1 << config.axi_address_bits:
        raise AmlaError(f"the workload's memory ends at {read_limit:#x}, past the {config.axi_address_bits} "
                        f"address bits of {config.name}")
    program = Program(
        commands=tuple(commands), binary=binary, scale_word=scale_word, read_window=(q_base, read_limit),
        write_window=(o_base, write_limit), annotations=tuple(annotations),
        symbols={"Q": q_base, "KV": kv_base, "PROGRAM": program_base, "O": o_base, "LSE": lse_base},
    )
    image = np.full(read_limit - o_base, 0xA5, np.uint8)
    for start, content in ((q_base, q), (kv_base, kv), (program_base, np.frombuffer(binary, np.uint8))):
        image[start - o_base:start - o_base + content.size] = content
    return Job(config=config, workload=workload, plan=plan, program=program, base=o_base, memory=image)


def _aligned(address: int, multiple: int) -> int:
    return -(-address // multiple) * multiple


def _check_shapes(workload: Workload, inputs: Inputs) -> None:
    assert inputs.cache_seqlens is not None
    shape = (len(workload.lengths), workload.q_tokens, workload.heads, workload.head_dim)
    for name, wanted, got in (("q", shape, inputs.q.shape),
                              ("page of kv_cache", workload.page_size, inputs.kv_cache.shape[1]),
                              ("cache_seqlens", workload.lengths, tuple(map(int, inputs.cache_seqlens)))):
        if wanted != got:
            raise AmlaError(f"{name} must be {wanted!r} as in the workload, not {got!r}")
