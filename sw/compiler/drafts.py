"""Commands in the making, and the token rings that order them across engines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from amla.rtl.isa import Engine, Opcode, Semaphore

from .plan import Plan
from .program import Annotation, Command, engine_of

__all__ = ["Draft", "Drafts", "Ring"]


@dataclass(eq=False)
class Draft:
    """A command whose semaphore masks are still open."""

    opcode: Opcode
    operands: Mapping[str, int | bool]
    note: Annotation
    wait: int = 0
    signal: int = 0

    @classmethod
    def of(cls, command: Command) -> "Draft":
        """A command as a draft again."""
        operands = {**command.fields, **dict.fromkeys(command.flags, True)}
        return cls(command.opcode, operands, Annotation(), command.wait, command.signal)

    @property
    def engine(self) -> Engine:
        return engine_of(self.opcode)

    def waits_for(self, semaphore: Semaphore) -> None:
        self.wait |= 1 << semaphore

    def signals(self, semaphore: Semaphore) -> None:
        self.signal |= 1 << semaphore

    def command(self) -> Command:
        return Command.build(self.opcode, wait=self.wait, signal=self.signal, **self.operands)


class Ring:
    """Tokens of a ring of slots: who takes the n-th slot waits for whoever gave the (n - slots)-th one back.

    The first takers wait for nobody and the last givers signal nobody, so that the semaphore needs no initial
    tokens and is zero in the end.
    """

    def __init__(self, slots: int, free: Semaphore):
        self._slots, self._free = slots, free
        self.taken = 0
        self._given: list[Draft] = []

    def take(self, draft: Draft) -> None:
        """``draft`` is the first command to use the next slot."""
        if self.taken >= self._slots:
            draft.waits_for(self._free)
        self.taken += 1

    def give(self, draft: Draft) -> None:
        """``draft`` is the last command to use the oldest slot."""
        self._given.append(draft)

    def close(self) -> None:
        """No more takers: settle which givers signal."""
        given = len(self._given)
        assert given == self.taken, f"{self._free.name}: {self.taken} taken, {given} given"
        for draft in self._given[:max(self.taken - self._slots, 0)]:
            draft.signals(self._free)


@dataclass
class Drafts:
    """The program in the making: drafts in order, the rings, and what is being worked on."""

    plan: Plan
    drafts: list[Draft] = field(default_factory=list)
    rings: dict[str, Ring] = field(default_factory=dict)
    note: Annotation = field(default_factory=Annotation)

    def __post_init__(self) -> None:
        regions = self.plan.regions
        rings = {"Q": Semaphore.Q_FREE, "KV": Semaphore.KV_FREE, "L0A": Semaphore.L0_FREE,
                 "SCORES": Semaphore.SCORES_FREE, "VALUES": Semaphore.VALUES_FREE, "S": Semaphore.S_FREE,
                 "P": Semaphore.P_FREE, "OUT": Semaphore.OUT_FREE}
        self.rings = {name: Ring(regions[name].slots, semaphore) for name, semaphore in rings.items()}
        # O is handed over unit by unit, so that the next row tile starts before the last one is stored.
        self.rings["O"] = Ring(regions["O"].slots * len(self.plan.units), Semaphore.O_FREE)

    def emit(self, opcode: Opcode, **operands: int | bool) -> Draft:
        """Append a command."""
        draft = Draft(opcode, operands, self.note)
        self.drafts.append(draft)
        return draft

    def next(self, ring: str) -> int:
        """First word of the slot that the next taker gets."""
        return self.slot(ring, self.rings[ring].taken)

    def take(self, ring: str, draft: Draft) -> None:
        """``draft`` is the first command to use the next slot."""
        self.rings[ring].take(draft)

    def give(self, ring: str, draft: Draft) -> None:
        """Give the oldest slot back."""
        self.rings[ring].give(draft)

    def slot(self, ring: str, number: int) -> int:
        """First word of the slot with this running number."""
        return self.plan.regions[ring].address(number)

    def close(self) -> list[Draft]:
        """Settle the rings; returns the drafts."""
        for ring in self.rings.values():
            ring.close()
        return self.drafts
