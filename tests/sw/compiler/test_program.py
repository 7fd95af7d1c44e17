"""Commands, assembler, disassembler, text form."""

import random

import pytest
from amla.rtl.isa import COMMAND_BYTES, FLAGS, LAYOUTS, Engine, Opcode, Semaphore
from amla.sw.compiler.program import Annotation, Command, Program, UnknownOpcode, assemble, disassemble, members

pytestmark = pytest.mark.smoke


def _random_command(rng, opcode):
    operands = {}
    for name in LAYOUTS[opcode].members:
        if name not in ("header", "pad"):
            width, signed = LAYOUTS[opcode][name].width, name == "limit"
            low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
            operands[name] = rng.choice((low, high, rng.randint(low, high)))
    operands |= {name: rng.random() < 0.5 for name in FLAGS[opcode]}
    return Command.build(opcode, wait=rng.getrandbits(16), signal=rng.getrandbits(16), **operands)


@pytest.mark.parametrize("opcode", list(Opcode), ids=lambda opcode: opcode.name)
def test_every_field_survives_the_round_trip(opcode):
    rng = random.Random(opcode)
    commands = [_random_command(rng, opcode) for _ in range(50)]
    binary = assemble(commands)
    assert len(binary) <= 50 * COMMAND_BYTES
    assert disassemble(binary) == commands


@pytest.mark.parametrize("opcode", list(Opcode), ids=lambda opcode: opcode.name)
def test_words_are_those_of_the_layout(opcode):
    """The layout itself, as the RTL uses it, packs the same constant."""
    command = _random_command(random.Random(1), opcode)
    header = {"opcode": opcode, "wait": command.wait, "signal": command.signal,
              "given": (1 << 14) - 1,
              "flags": sum(1 << bit for name, bit in FLAGS[opcode].items() if name in command.flags)}
    constant = LAYOUTS[opcode].const({"header": header, **command.fields}).as_value()
    assert command.encode() == constant.value


def test_little_endian_and_header_first():
    command = Command.build(Opcode.MMAD, mt=0x1234, wait=(Semaphore.KV_READY,), signal=(Semaphore.OUT_FREE,))
    binary = command.encode().to_bytes(COMMAND_BYTES, "little")
    assert binary[:8] == bytes([Opcode.MMAD, 0, 0xFF, 0x3F, 4, 0, 0, 0x80])
    assert binary.count(b"\x34\x12") == 1


@pytest.mark.parametrize(("operands", "message"), [
    ({"mt": 65536}, r"MMAD\.mt must be from 0 to 65535, not 65536"),
    ({"nt": -1}, r"MMAD\.nt must be from 0 to 65535, not -1"),
    ({"wait": 1 << 16}, r"MMAD\.wait must be a mask of 16 semaphores, not 65536"),
])
def test_values_that_do_not_fit_name_their_field(operands, message):
    with pytest.raises(ValueError, match=message):
        Command.build(Opcode.MMAD, **operands)


def test_unknown_operand():
    with pytest.raises(TypeError, match=r"MMAD has the fields l0a, .*accumulate, weights, not 'address'"):
        Command.build(Opcode.MMAD, address=0)


def test_unknown_opcode_names_the_command():
    binary = assemble([Command.build(Opcode.HALT)]) + bytes([0xEE, 0, 0, 0])
    with pytest.raises(UnknownOpcode, match=r"command 1: opcode must be one of FENCE, .*, not 0xee"):
        disassemble(binary)


def test_truncated_binary():
    binary = assemble([Command.build(Opcode.FENCE), Command.build(Opcode.MMAD, mt=5, nt=6), Command.build(Opcode.HALT)])
    for length in (6, 10):
        with pytest.raises(ValueError, match="the program ends within command 1"):
            disassemble(binary[:length])
    with pytest.raises(ValueError, match="binary must be whole halfwords of two bytes, not 7 bytes"):
        disassemble(binary[:7])


def test_engines_and_masks():
    assert Command.build(Opcode.NORMALIZE).engine == Engine.VECTOR
    assert members(0b1001) == (Semaphore.Q_READY, Semaphore.KV_FREE)


def test_text():
    commands = [Command.build(Opcode.DRAIN_S, l0c=3, limit=-5, first=True,
                              wait=(Semaphore.S_FREE, Semaphore.L0C_READY),
                              signal=(Semaphore.DRAINED,)),
                Command.build(Opcode.LOAD, address=0x1000_0000), Command.build(Opcode.HALT)]
    program = Program(commands=commands, scale_word=0, read_window=(0, 0), write_window=(0, 0),
                      annotations=[Annotation(0, 1, 2, "C1"), Annotation(), Annotation()])
    lines = program.listing().splitlines()
    assert lines[0] == ("     0 drain     DRAIN_S   l0c=3 mt=0 nt=0 s=0 s_pitch=0 rowmax=0 limit=-5 heads=0 "
                        "head0=0 first wait=L0C_READY,S_FREE signal=DRAINED  "
                        "; C1, request 0, tile 1, block 2")
    assert "address=0x10000000" in lines[1]
    assert lines[2].split() == ["2", "sequencer", "HALT"]
