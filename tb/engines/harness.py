"""What the benches of the pipelined engines share: commands and protocol checks.

A bench keeps the engine's buffers as :class:`~amla.tb.memory.SyncMemory` models, whose words are unsigned
integers, and gives for each command the words it must write; :class:`EngineBench` drives the commands and
checks the protocol, the words at every ``done``, and the cycle of every ``done``.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cocotb
import numpy as np
from amla.rtl.config import CoreConfig
from amla.rtl.isa import FLAGS, LAYOUTS, Fault, Opcode
from amla.rtl.issue.dispatch import MAX_UNFINISHED
from cocotb.triggers import RisingEdge

from ..memory import SyncMemory
from ..signals import Pin
from ..stream import StreamDriver, reset
from .timing import Timeline

__all__ = [
    "Command", "EngineBench", "bench_config", "bench_environment", "encode", "pack", "unpack",
]

#: Environment variable that carries the configuration of a build to its bench.
_CONFIG = "AMLA_BENCH_CONFIG"


def bench_environment(config: CoreConfig) -> dict[str, str]:
    """Environment that tells a bench its configuration."""
    return {_CONFIG: json.dumps(vars(config))}


def bench_config() -> CoreConfig:
    """Configuration of the design under test."""
    return CoreConfig.from_dict(json.loads(os.environ[_CONFIG]))


def encode(opcode: Opcode, *flags: str, **fields: int) -> int:
    """Command word; fields not named are zero."""
    layout = LAYOUTS[opcode]
    word = int(opcode) | sum(1 << FLAGS[opcode][flag] for flag in flags) << 8
    for name, value in fields.items():
        place = layout[name]
        bits = place.shape.width
        low, high = (-(1 << bits - 1), 1 << bits - 1) if place.shape.signed else (0, 1 << bits)
        if not low <= value < high:
            raise ValueError(f"{name} of {opcode.name} must be in [{low}, {high}), not {value!r}")
        word |= (value & (1 << bits) - 1) << place.offset
    return word


def pack(array: np.ndarray) -> int:
    """Memory word of an array: element 0 in the least significant bits."""
    return int.from_bytes(np.ascontiguousarray(array).tobytes(), "little")


def unpack(word: int, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """Array of a memory word, the low elements of it that fit the shape."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((word & (1 << 8 * size) - 1).to_bytes(size, "little"), dtype).reshape(shape)


@dataclass
class Command:
    """A command and what it must do.

    word:   the encoded command
    writes: (buffer, address) -> word after the command
    items:  what it issues, one per cycle, in the terms of the bench's timing model
    fault:  the fault it ends with, NONE for a command that finishes
    """

    word: int
    writes: dict[tuple[str, int], int] = field(default_factory=dict)
    items: Sequence = ()
    fault: Fault = Fault.NONE


class EngineBench:
    """Drives commands into an engine and checks everything the protocol and the timing model promise.

    Checked in every cycle: ``done`` only with an unfinished command and at the predicted cycle, at that
    moment all words of the command in place, at most ``MAX_UNFINISHED`` unfinished, ``ready`` at the predicted cycle,
    ``stall`` only with a command in progress, ``fault`` with the right code after all earlier commands, and
    nothing after it.

    Parameters
    ----------
    dut:      top level
    buffers:  the memories, by the names used in ``Command.writes``
    timeline: makes a fresh cycle model
    before:   called before every cycle of a run with its number, to set inputs
    """

    def __init__(self, dut, buffers: dict[str, SyncMemory], timeline: Callable[[], Timeline],
                 before: Callable[[int], None] = lambda cycle: None):
        self.dut = dut
        self.buffers = buffers
        self._new_timeline = timeline
        self._before = before
        self._driver = StreamDriver(dut, "start", dut.clk)
        self._pins = {name: Pin(dut, name) for name in (
            "start__valid", "start__ready", "done", "stall", "fault", "fault_code")}
        self.finished = 0

    async def restart(self) -> None:
        """Reset the engine."""
        await reset(self.dut)

    async def run(self, commands: Sequence[Command], *, pause: Callable[[], int] = lambda: 0,
                  settle: int = 40) -> int:
        """Run ``commands`` after a reset with ``pause()`` idle cycles before each.

        A command with a fault must stop the engine; those behind it must not be accepted. In the ``settle``
        cycles after the end nothing may happen. Then all buffers must hold just what was expected. Returns
        the cycle of the last ``done``, counted from the reset.
        """
        assert commands, "no commands to run"
        await self.restart()
        expected = {name: list(memory.storage) for name, memory in self.buffers.items()}
        feeder = cocotb.start_soon(self._feed(commands, pause))
        done, fault = await self._watch(commands, settle)
        feeder.cancel()
        self._pins["start__valid"].set(0)
        assert fault == next((command.fault for command in commands if command.fault), Fault.NONE)
        faulty = [command for command in commands[:len(done) + 1] if command.fault]
        for command in commands[:len(done)]:
            for (name, address), word in command.writes.items():
                expected[name][address] = word
        self.finished += len(done)
        for name, memory in self.buffers.items():
            touched = {address for command in faulty for buffer, address in command.writes if buffer == name}
            for address, (word, wanted) in enumerate(zip(memory.storage, expected[name], strict=True)):
                assert word == wanted or address in touched, \
                    f"{name}[{address}] is {word:#x}, expected {wanted:#x}, " \
                    f"{_writer(commands, name, address)}"
        return done[-1] if done else 0

    async def _feed(self, commands, pause) -> None:
        for command in commands:
            for _ in range(pause()):
                await RisingEdge(self.dut.clk)
            await self._driver.send(command.word)

    async def _watch(self, commands, settle) -> tuple[list[int], Fault]:
        pins, timeline, edge = self._pins, self._new_timeline(), RisingEdge(self.dut.clk)
        finishing = sum(1 for _ in _before_fault(commands))
        ends = len(commands) if finishing == len(commands) else finishing + 1
        due: list[int] = []  # predicted cycle of every accepted command's done
        done: list[int] = []
        waiting: int | None = None  # since this cycle a command is offered
        fault, stalls, quiet, cycle, writes = Fault.NONE, 0, 0, 0, 0
        while quiet < settle:
            self._before(cycle + 1)
            await edge
            cycle += 1
            if pins["done"].get():
                assert len(done) < min(len(due), finishing), f"cycle {cycle}: done without a command"
                assert cycle == due[len(done)], \
                    f"command {len(done)} done in cycle {cycle}, predicted {due[len(done)]}"
                self._check_words(commands, len(done), len(due))
                done.append(cycle)
            elif len(done) < min(len(due), finishing):
                assert cycle < due[len(done)], f"command {len(done)} not done in cycle {cycle} as predicted"
            if pins["fault"].get():
                assert fault is Fault.NONE, f"cycle {cycle}: second fault"
                fault = Fault(pins["fault_code"].get())
                assert len(done) == finishing < len(due), f"{fault.name} after {len(done)} commands"
                assert not pins["done"].get(), f"{fault.name} and done in one cycle"
                writes = self._writes_done()
            if pins["stall"].get():
                assert len(due) > len(done), f"cycle {cycle}: stall without a command"
                stalls += 1
            if pins["start__valid"].get():
                waiting = cycle if waiting is None else waiting
                if pins["start__ready"].get():
                    assert len(due) < ends, f"cycle {cycle}: command accepted behind a faulty one"
                    predicted = max(timeline.next_accept(), waiting)
                    assert cycle == predicted, \
                        f"command {len(due)} accepted in cycle {cycle}, predicted {predicted}"
                    due.append(timeline.accept(commands[len(due)].items, cycle))
                    waiting = None
                    assert len(due) - len(done) <= MAX_UNFINISHED, f"{len(due) - len(done)} unfinished"
            over = len(done) == finishing and (finishing == len(commands) or fault is not Fault.NONE)
            quiet = quiet + 1 if over else 0
            assert cycle < 1000 + (due[-1] if due else 0), f"no end: {len(done)} commands in {cycle} cycles"
        if fault is not Fault.NONE:
            assert self._writes_done() == writes, f"writes after {fault.name}"
        else:
            assert stalls == timeline.stalls, f"{stalls} cycles of stall, predicted {timeline.stalls}"
        return done, fault

    def _writes_done(self) -> int:
        return sum(memory.writes_done for memory in self.buffers.values())

    def _check_words(self, commands, index, accepted) -> None:
        """All words of command ``index`` are in place, save those that a later command may have replaced."""
        later = set().union(*(command.writes for command in commands[index + 1:accepted]))
        for (name, address), word in commands[index].writes.items():
            if (name, address) not in later:
                got = self.buffers[name].storage[address]
                assert got == word, \
                    f"command {index} is done but {name}[{address}] is {got:#x}, expected {word:#x}"


def _before_fault(commands):
    for command in commands:
        if command.fault:
            return
        yield command


def _writer(commands, name, address) -> str:
    writers = [index for index, command in enumerate(commands) if (name, address) in command.writes]
    return f"last written by command {writers[-1]}" if writers else "written by no command"
