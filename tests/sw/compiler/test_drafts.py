"""Token rings: who waits, who signals."""

import pytest
from amla.rtl.isa import Engine, Opcode, Semaphore
from amla.sw.compiler.drafts import Draft, Ring
from amla.sw.compiler.program import Annotation, Command

pytestmark = pytest.mark.smoke


def _drafts(count):
    return [Draft(Opcode.MMAD, {}, Annotation()) for _ in range(count)]


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_the_ring_needs_and_leaves_no_tokens(slots):
    ring, takers, givers = Ring(slots, Semaphore.S_FREE), _drafts(5), _drafts(5)
    for taker, giver in zip(takers, givers, strict=True):
        ring.take(taker)
        ring.give(giver)
    ring.close()
    bit = 1 << Semaphore.S_FREE
    assert [taker.wait for taker in takers] == [0] * min(slots, 5) + [bit] * max(5 - slots, 0)
    assert [giver.signal for giver in givers] == [bit] * max(5 - slots, 0) + [0] * min(slots, 5)


def test_a_slot_not_given_back():
    ring = Ring(1, Semaphore.S_FREE)
    ring.take(_drafts(1)[0])
    with pytest.raises(AssertionError, match="S_FREE: 1 taken, 0 given"):
        ring.close()


def test_a_draft_becomes_its_command():
    draft = Draft(Opcode.SOFTMAX, {"mt": 3, "first": True}, Annotation())
    draft.waits_for(Semaphore.DRAINED)
    draft.signals(Semaphore.P_READY)
    command = draft.command()
    assert draft.engine == command.engine == Engine.VECTOR
    assert (command["mt"], command.flags, command.wait, command.signal) == (
        3, {"first"}, 1 << Semaphore.DRAINED, 1 << Semaphore.P_READY)


def test_a_command_is_its_draft_again():
    command = Command.build(Opcode.DRAIN_O, wait=3, signal=8, mt=2, nt=3, o=5, first=True)
    draft = Draft.of(command)
    assert draft.command() == command and draft.operands["first"] and draft.operands["nt"] == 3
