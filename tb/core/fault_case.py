"""A program at fault: what it is made of, the memory it runs in, and what the command simulator says of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import COMMAND_BYTES, Fault, Opcode
from amla.sw.compiler.program import Command
from amla.sw.simulator.simulator import CommandFault, Simulator

from .driver import CoreBench, Error

__all__ = [
    "DATA",
    "DATA_BYTES",
    "FENCE",
    "HALT",
    "LIST",
    "OUTPUT",
    "OUTPUT_BYTES",
    "PROGRAM",
    "READ_WINDOW",
    "UNMAPPED_READ",
    "UNMAPPED_WRITE",
    "WRITE_WINDOW",
    "FaultCase",
    "binary_of",
    "gather",
    "load",
    "one",
    "ordinary_registers",
    "simulated_fault",
    "store",
    "wide",
]

#: GM of the hand-written programs. Both windows end past what is mapped.
PROGRAM, DATA, DATA_BYTES = 0x10000, 0x20000, 0x4000
OUTPUT, OUTPUT_BYTES = 0x80000, 0x1000
READ_WINDOW, WRITE_WINDOW = (PROGRAM, 0x30000), (OUTPUT, 0x90000)
UNMAPPED_READ, UNMAPPED_WRITE = 0x28000, 0x88000
#: Where lists lie that are not to be elsewhere.
LIST = DATA + 0x2000

FENCE, HALT = Command.build(Opcode.FENCE), Command.build(Opcode.HALT)


@dataclass(frozen=True, kw_only=True)
class FaultCase:
    """A program and the fault that stops it.

    Attributes
    ----------
    commands:   words of commands that are none are given as integers
    error:      what the registers must say
    registers:  that differ from the ordinary
    content:    of memory: byte address -> bytes
    prepare:    called with the bench before START
    simulated:  the command simulator must report the same
    """

    name: str
    commands: list[Command | int]
    error: Error
    registers: Mapping[str, int] = field(default_factory=dict)
    content: Mapping[int, bytes] = field(default_factory=dict)
    prepare: Callable[[CoreBench], None] = lambda bench: None
    simulated: bool = True

    def binary(self) -> bytes:
        """The program in memory."""
        return binary_of(self.commands)


def binary_of(commands: Iterable[Command | int]) -> bytes:
    """The words of a program, some of which may be no commands; each command gives all its halfwords."""
    return b"".join((command if isinstance(command, int) else command.encode()).to_bytes(COMMAND_BYTES, "little")
                    for command in commands)


def ordinary_registers(program: bytes) -> dict[str, int]:
    """Registers that a hand-written program runs with, unless a case wants others."""
    registers = {"PROGRAM_LENGTH": len(program) // 2, "SCALE": 0x3F800000}
    for name, address in (
        ("PROGRAM_BASE", PROGRAM),
        ("READ_BASE", READ_WINDOW[0]),
        ("READ_LIMIT", READ_WINDOW[1]),
        ("WRITE_BASE", WRITE_WINDOW[0]),
        ("WRITE_LIMIT", WRITE_WINDOW[1]),
    ):
        registers |= wide(name, address)
    return registers


def wide(name: str, value: int) -> dict[str, int]:
    """The two registers of a value of 64 bits."""
    return {f"{name}_LO": value & 0xFFFFFFFF, f"{name}_HI": value >> 32}


def simulated_fault(config: CoreConfig, memory: np.ndarray, registers: Mapping[str, int]) -> Error | None:
    """What the command simulator reports for the program in ``memory``, which begins at ``PROGRAM``."""
    def value(name: str) -> int:
        return registers[f"{name}_LO"] | registers[f"{name}_HI"] << 32

    simulator = Simulator(config, memory, base=PROGRAM, read_window=(value("READ_BASE"), value("READ_LIMIT")),
                          write_window=(value("WRITE_BASE"), value("WRITE_LIMIT")), scale_word=registers["SCALE"])
    try:
        simulator.run(value("PROGRAM_BASE"), registers["PROGRAM_LENGTH"])
    except CommandFault as fault:
        return Error(fault.code, fault.engine, fault.index, fault.row)
    return None


def one(name: str, command: Command, code: Fault, *, row: int = 0, **options) -> FaultCase:
    """The command is the second of its program."""
    return FaultCase(name=name, commands=[FENCE, command, HALT], error=Error(code, command.engine, 1, row), **options)


def load(**operands) -> Command:
    """A LOAD that is in order but for ``operands``."""
    return Command.build(
        Opcode.LOAD,
        **{"address": DATA, "pitch": 256, "rows": 4, "rows_padded": 4, "cols": 16, "l1": 0, **operands},
    )


def gather(**operands) -> Command:
    """A GATHER that is in order but for ``operands``: of pages of four slots of 32 bytes."""
    return Command.build(
        Opcode.GATHER,
        **{"address": DATA, "list": LIST, "page_bytes": 128, "page_size": 4, "rows": 4, "rows_padded": 4, "cols": 16,
           "l1": 0, **operands},
    )


def store(**operands) -> Command:
    """A STORE that is in order but for ``operands``."""
    return Command.build(
        Opcode.STORE,
        **{
            "address": OUTPUT + 256,
            "pitch": 256,
            "rows": 3,
            "cols": 16,
            "out": 0,
            "out_pitch": 2,
            **operands,
        },
    )
