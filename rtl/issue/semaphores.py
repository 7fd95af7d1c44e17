"""The sixteen semaphores: counters that order the engines."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from ..isa import SEMAPHORE_MAX, SEMAPHORES, Engine

__all__ = ["SemaphorePort", "Semaphores"]

#: One client's side: ask for every counter in ``wait`` to be taken; add one to every counter in ``signal``.
SemaphorePort = wiring.Signature({
    "request": Out(1),
    "wait": Out(SEMAPHORES),
    "grant": In(1),
    "strobe": Out(1),
    "signal": Out(SEMAPHORES),
})


class Semaphores(wiring.Component):
    """Counters with an atomic take of several at once.

    A request is granted when every counter in its mask is at least one; all of them are then decremented
    together. At most one request is granted at a time, round robin, so that two engines never take the
    same token and none starves. Signals of all clients add up in the same cycle.

    **Latency**: the grant comes one cycle after its choice, if the request still stands, which may not change until
    then; a signal can be granted in the next cycle but one.
    **Throughput**: one grant every two cycles, any number of signals per cycle.

    Parameters
    ----------
    clients: number of clients.

    Members
    -------
    port: ``SemaphorePort`` of each client (flipped).
    overflow: strobe, a counter would have passed ``SEMAPHORE_MAX`` in the last cycle; it has kept its value.
    overflow_client: lowest client that signalled such a counter.
    """

    def __init__(self, *, clients: int = len(Engine)):
        self.clients = clients
        super().__init__({
            "port": In(SemaphorePort).array(clients),
            "overflow": Out(1),
            "overflow_client": Out(range(clients)),
        })

    def elaborate(self, platform):
        m = Module()
        counters = [Signal(bits_for(SEMAPHORE_MAX), name=f"counter_{i}") for i in range(SEMAPHORES)]
        available = Signal(SEMAPHORES)
        m.d.comb += available.eq(Cat(counter != 0 for counter in counters))

        ready = Signal(self.clients)
        m.d.comb += ready.eq(Cat(port.request & ~(port.wait & ~available).any() for port in self.port))

        last = Signal(range(self.clients))
        chosen = Signal(range(self.clients))
        with m.Switch(last):
            for start in range(self.clients):
                with m.Case(start):
                    # Later assignments win: the client right after the last one is assigned last.
                    for offset in reversed(range(1, self.clients + 1)):
                        client = (start + offset) % self.clients
                        with m.If(ready[client]):
                            m.d.comb += chosen.eq(client)
        # The tokens are taken with the grant; who is ready is seen again after that.
        granted = Signal(self.clients)
        taking = Signal(SEMAPHORES)
        taken = Signal(SEMAPHORES)
        m.d.sync += [granted.eq(0), taking.eq(Array(port.wait for port in self.port)[chosen])]
        with m.If(ready.any() & ~granted.any()):
            m.d.sync += [last.eq(chosen), granted.eq(1 << chosen)]
        for client, port in enumerate(self.port):
            m.d.comb += port.grant.eq(granted[client] & port.request)
        m.d.comb += taken.eq(Mux(Cat(port.grant for port in self.port).any(), taking, 0))

        overflows = Signal(SEMAPHORES)
        for i, counter in enumerate(counters):
            following = Signal(unsigned(len(counter) + 3))
            m.d.comb += following.eq(counter + sum(port.strobe & port.signal[i] for port in self.port) - taken[i])
            m.d.comb += overflows[i].eq(following > SEMAPHORE_MAX)
            m.d.sync += counter.eq(Mux(overflows[i], counter, following))
        guilty = Signal(self.clients)
        m.d.sync += guilty.eq(Cat(port.strobe & (port.signal & overflows).any() for port in self.port))
        m.d.comb += self.overflow.eq(guilty.any())
        for client in reversed(range(self.clients)):
            with m.If(guilty[client]):
                m.d.comb += self.overflow_client.eq(client)
        return m
