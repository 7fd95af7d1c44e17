"""Commands and programs: assembler, disassembler, text form, all derived from ``rtl/isa.py``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
from amla.rtl.isa import FLAGS, GIVEN, LAYOUTS, Engine, Header, Opcode, Semaphore

from .packing import pack, unpack

__all__ = ["Annotation", "Command", "Program", "UnknownOpcode", "assemble", "disassemble", "engine_of",
           "members"]


class _Bits(NamedTuple):
    """Place of a field in the command word."""

    lsb: int
    width: int
    signed: bool
    range: range

    def decode(self, word: int) -> int:
        value = word >> self.lsb & (1 << self.width) - 1
        return value - (1 << self.width) if self.signed and value >> self.width - 1 else value


def _place(layout, name: str) -> _Bits:
    bits = layout[name]
    signed, values = getattr(bits.shape, "signed", False), 1 << bits.width
    return _Bits(bits.offset, bits.width, signed, range(-values // 2, values // 2) if signed else range(values))


_HEADER = {name: _place(Header, name) for name in ("opcode", "flags", "given", "wait", "signal")}
_PAYLOAD = {opcode: {name: _place(layout, name) for name in layout.members if name not in ("header", "pad")}
            for opcode, layout in LAYOUTS.items()}


@cache
def engine_of(opcode: Opcode) -> Engine:
    """The engine that executes an operation."""
    return Engine(opcode >> 4)


class UnknownOpcode(ValueError):
    """A word's opcode is none of :class:`~amla.rtl.isa.Opcode`."""


def _mask(semaphores: int | Iterable[Semaphore]) -> int:
    return semaphores if isinstance(semaphores, int) else sum(1 << semaphore for semaphore in set(semaphores))


@cache
def members(mask: int) -> tuple[Semaphore, ...]:
    """The semaphores of a mask."""
    return tuple(semaphore for semaphore in Semaphore if mask >> semaphore & 1)


@dataclass(frozen=True)
class Command:
    """One command; :meth:`build` is the assembler.

    Attributes
    ----------
    opcode: operation
    fields: every payload field of the operation
    flags:  names of the flags that are set
    wait:   mask of semaphores taken before the command starts
    signal: mask of semaphores raised when it has finished

    Raises
    ------
    ValueError: a value does not fit its field; the message names both.
    """

    opcode: Opcode
    fields: Mapping[str, int]
    flags: frozenset[str] = frozenset()
    wait: int = 0
    signal: int = 0

    @classmethod
    def build(cls, opcode: Opcode, *, wait: int | Iterable[Semaphore] = 0,
              signal: int | Iterable[Semaphore] = 0,
              **operands: int | bool) -> "Command":
        """Build a command from its fields (0 if not given) and flags (clear if not given).

        Parameters
        ----------
        opcode:       operation
        wait, signal: masks, or the semaphores themselves
        operands:     payload fields as integers, flags as booleans

        Raises
        ------
        TypeError:  the operation has no such field or flag.
        ValueError: a value does not fit its field; the message names both.
        """
        payload, flags = _PAYLOAD[opcode], FLAGS[opcode]
        for name in operands:
            if name not in payload and name not in flags:
                raise TypeError(f"{opcode.name} has the fields {', '.join([*payload, *flags])}, not {name!r}")
        values = {name: int(operands.get(name, 0)) for name in payload}
        return cls(opcode, values, frozenset(name for name in flags if operands.get(name)), _mask(wait), _mask(signal))

    def __post_init__(self) -> None:
        for name, bits in _PAYLOAD[self.opcode].items():
            if self.fields[name] not in bits.range:
                raise ValueError(f"{self.opcode.name}.{name} must be from {bits.range.start} to "
                                 f"{bits.range.stop - 1}, not {self.fields[name]!r}")
        for name, mask in (("wait", self.wait), ("signal", self.signal)):
            if mask not in _HEADER[name].range:
                raise ValueError(f"{self.opcode.name}.{name} must be a mask of {_HEADER[name].width} "
                                 f"semaphores, not {mask!r}")

    def __getitem__(self, name: str) -> int:
        return self.fields[name]

    @property
    def engine(self) -> Engine:
        """The engine that executes the command."""
        return engine_of(self.opcode)

    def encode(self) -> int:
        """The 256-bit word, which gives all its halfwords."""
        flags = sum(1 << bit for name, bit in FLAGS[self.opcode].items() if name in self.flags)
        word = 0
        for name, value in (("opcode", self.opcode), ("flags", flags), ("given", (1 << GIVEN) - 1),
                            ("wait", self.wait), ("signal", self.signal)):
            word |= value << _HEADER[name].lsb
        for name, bits in _PAYLOAD[self.opcode].items():
            word |= (self.fields[name] & (1 << bits.width) - 1) << bits.lsb
        return word

    @classmethod
    def decode(cls, word: int) -> "Command":
        """The command of a 256-bit word; unused bits are ignored, as the core does.

        Raises
        ------
        UnknownOpcode: the opcode is none of ours.
        """
        opcode, flags, _, wait, signal = (bits.decode(word) for bits in _HEADER.values())
        try:
            known = Opcode(opcode)
        except ValueError:
            names = ", ".join(Opcode.__members__)
            raise UnknownOpcode(f"opcode must be one of {names}, not {opcode:#04x}") from None
        set_flags = frozenset(name for name, bit in FLAGS[known].items() if flags >> bit & 1)
        fields = {name: bits.decode(word) for name, bits in _PAYLOAD[known].items()}
        return cls(known, fields, set_flags, wait, signal)

    def __str__(self) -> str:
        parts = [f"{self.opcode.name:9}"]
        for name, value in self.fields.items():
            parts.append(f"{name}={value:#x}" if name == "address" else f"{name}={value}")
        parts += [name for name in FLAGS[self.opcode] if name in self.flags]
        for name, mask in (("wait", self.wait), ("signal", self.signal)):
            if mask:
                names = ",".join(semaphore.name for semaphore in members(mask))
                parts.append(f"{name}={names}")
        return " ".join(parts).rstrip()


def assemble(commands: Iterable[Command]) -> bytes:
    """The program as it is in memory: little-endian halfwords, see :mod:`~.packing`."""
    return pack(command.encode() for command in commands).tobytes()


def disassemble(binary: bytes) -> list[Command]:
    """The commands of a binary.

    Raises
    ------
    ValueError:    the last command is not whole.
    UnknownOpcode: a word is no command; the message names its index.
    """
    if len(binary) % 2:
        raise ValueError(f"binary must be whole halfwords of two bytes, not {len(binary)!r} bytes")
    commands = []
    for index, word in enumerate(unpack(np.frombuffer(binary, "<u2").tolist())):
        try:
            commands.append(Command.decode(word))
        except UnknownOpcode as error:
            raise UnknownOpcode(f"command {index}: {error}") from None
    return commands


@dataclass(frozen=True)
class Annotation:
    """What a command works on, for reports; -1 where it does not apply."""

    request: int = -1
    tile: int = -1
    block: int = -1
    stage: str = ""

    def __str__(self) -> str:
        parts = [self.stage] if self.stage else []
        parts += [f"{name} {value}" for name, value in (("request", self.request), ("tile", self.tile),
                                                        ("block", self.block)) if value >= 0]
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program and what the core's registers must hold to run it.

    Attributes
    ----------
    commands:     in program order, HALT last
    binary:       the commands as they are in memory
    scale_word:   FP32 word of softmax_scale * log2(e)
    read_window, write_window: first byte, first byte past
    symbols:      byte addresses of Q, KV, PROGRAM, O, LSE
    annotations:  one per command
    """

    commands: Sequence[Command]
    binary: bytes = b""
    scale_word: int
    read_window: tuple[int, int]
    write_window: tuple[int, int]
    symbols: Mapping[str, int] = field(default_factory=dict)
    annotations: Sequence[Annotation] = ()

    def __len__(self) -> int:
        return len(self.commands)

    def line(self, index: int) -> str:
        """The readable line of one command."""
        command = self.commands[index]
        note = str(self.annotations[index]) if index < len(self.annotations) else ""
        note = f"  ; {note}" if note else ""
        return f"{index:6} {command.engine.name.lower():9} {command}{note}"

    def listing(self) -> str:
        """The whole program, one readable line per command."""
        return "\n".join(self.line(index) for index in range(len(self.commands)))
