"""Programs in memory: what a command leaves out."""

import random

import pytest
from amla.rtl.isa import GIVEN, HALFWORDS, Opcode
from amla.sw.compiler.packing import TruncatedProgram, pack, unpack

pytestmark = pytest.mark.smoke

_ALL = (1 << GIVEN) - 1


def _word(opcode, rest=(), *, flags=0):
    halfwords = [opcode | flags << 8, _ALL, *rest, *[0] * (GIVEN - len(rest))]
    return sum(halfword << 16 * i for i, halfword in enumerate(halfwords))


def test_by_hand():
    """Halfword by halfword: zeros are left out at first, later what is as before in the same reference."""
    words = [_word(Opcode.MMAD, (7, 0, 5)), _word(Opcode.FEED_A, (7,)), _word(Opcode.MMAD, (7, 3, 0)),
             _word(Opcode.MMAD, (7, 3, 0)), _word(Opcode.MMAD, (7, 3, 0), flags=1)]
    assert pack(words).tolist() == [0x30, 0b101, 7, 5, 0x20, 0b1, 7, 0x30, 0b110, 3, 0, 0x30, 0, 0x130, 0b11, 7, 3]


def test_what_shares_a_reference():
    """Engine, lowest opcode bit and flag 0 tell commands apart, other flags do not."""
    words = [_word(Opcode.DRAIN_S, (1,)), _word(Opcode.DRAIN_O, (1,)), _word(Opcode.DRAIN_S, (1,), flags=2)]
    assert pack(words).tolist() == [0x40, 1, 1, 0x41, 1, 1, 0x240, 0]


@pytest.mark.parametrize("seed", range(20))
def test_round_trip(seed):
    rng = random.Random(seed)
    words = []
    for _ in range(200):
        rest = [rng.choice((0, 1, rng.getrandbits(16))) for _ in range(GIVEN)]
        words.append(_word(rng.getrandbits(8), rest, flags=rng.getrandbits(8)))
    halfwords = pack(words).tolist()
    assert list(unpack(halfwords)) == words and len(halfwords) < HALFWORDS * len(words)
    assert list(unpack(halfword for word in words for halfword in
                       (word >> 16 * i & 0xFFFF for i in range(HALFWORDS)))) == words


def test_mask_bits_past_the_command_are_ignored():
    assert list(unpack([Opcode.HALT, 0xC000, Opcode.HALT, 0xC001, 9])) == [_word(Opcode.HALT), _word(Opcode.HALT, (9,))]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_ends_within_a_command(length):
    with pytest.raises(TruncatedProgram, match="the program ends within command 1"):
        list(unpack([Opcode.FENCE, 0, *[Opcode.MMAD, 0b11, 1][:length]]))
