"""Bench of the semaphores: random clients against counters in Python."""

import random

import cocotb
from amla.rtl.isa import SEMAPHORE_MAX, SEMAPHORES
from amla.tb.signals import Pin
from amla.tb.stream import reset, start_clock
from cocotb.triggers import ReadOnly, RisingEdge

CLIENTS = 7


class Ports:
    """The clients' pins."""

    def __init__(self, dut):
        def pins(name):
            return [Pin(dut, f"port__{client}__{name}") for client in range(CLIENTS)]

        self.request, self.wait, self.grant = pins("request"), pins("wait"), pins("grant")
        self.strobe, self.signal = pins("strobe"), pins("signal")
        self.overflow, self.overflow_client = Pin(dut, "overflow"), Pin(dut, "overflow_client")
        for pin in (*self.request, *self.strobe):
            pin.set(0)


@cocotb.test()
async def counts_like_the_model(dut):
    """Every grant is legal, at most one a cycle, and one comes in the cycle after it was possible."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    ports = Ports(dut)
    await reset(dut)
    counters = [0] * SEMAPHORES
    wanted: list[int | None] = [None] * CLIENTS
    waited = [0] * CLIENTS
    grants = overflows = 0
    due, told = False, (False, 0)  # a grant; overflow and its client
    for cycle in range(5000):
        busy = rng.random() < 0.5 + 0.4 * (cycle // 1000 % 2)
        signals = []
        for client in range(CLIENTS):
            if wanted[client] is None and rng.random() < 0.4:
                wanted[client] = rng.getrandbits(SEMAPHORES) & rng.getrandbits(SEMAPHORES) & rng.getrandbits(SEMAPHORES)
                waited[client] = 0
            ports.request[client].set(wanted[client] is not None)
            ports.wait[client].set(wanted[client] or 0)
            mask = rng.getrandbits(SEMAPHORES) & rng.getrandbits(SEMAPHORES) if busy and rng.random() < 0.3 else None
            signals.append(mask)
            ports.strobe[client].set(mask is not None)
            ports.signal[client].set(mask or 0)
        await ReadOnly()
        ready = [mask is not None and all(counters[i] for i in range(SEMAPHORES) if mask >> i & 1) for mask in wanted]
        granted = [client for client in range(CLIENTS) if ports.grant[client].get()]
        assert len(granted) == int(due), f"cycle {cycle}: grants {granted}, grantable {ready}"
        due = any(ready) and not granted
        taken = 0
        for client in range(CLIENTS):
            waited[client] += ready[client]
        for client in granted:
            assert ready[client], f"cycle {cycle}: client {client} was granted without tokens"
            taken, wanted[client], waited[client] = wanted[client] or 0, None, 0
            grants += 1
        following = [counters[i] + sum(mask is not None and mask >> i & 1 for mask in signals) - (taken >> i & 1)
                     for i in range(SEMAPHORES)]
        over = [i for i in range(SEMAPHORES) if following[i] > SEMAPHORE_MAX]
        assert ports.overflow.get() == told[0], f"cycle {cycle}: overflow {told} not told"
        if told[0]:
            assert ports.overflow_client.get() == told[1]
            overflows += 1
        full = [client for client in range(CLIENTS) if any((signals[client] or 0) >> i & 1 for i in over)]
        told = bool(over), min(full, default=0)
        counters = [counters[i] if i in over else following[i] for i in range(SEMAPHORES)]
        await RisingEdge(dut.clk)
    assert grants > 500 and overflows > 10, (grants, overflows)


@cocotb.test()
async def nobody_starves(dut):
    """With a token always there, each of seven steady requests is served every fourteen cycles."""
    start_clock(dut)
    ports = Ports(dut)
    await reset(dut)
    for client in range(CLIENTS):
        ports.request[client].set(1)
        ports.wait[client].set(0)
    order = []
    for _ in range(6 * CLIENTS + 1):
        await ReadOnly()
        order += [client for client in range(CLIENTS) if ports.grant[client].get()]
        await RisingEdge(dut.clk)
    assert len(order) == 3 * CLIENTS
    for first in range(2 * CLIENTS):
        assert sorted(order[first:first + CLIENTS]) == list(range(CLIENTS)), order
