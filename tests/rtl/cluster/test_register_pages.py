# amaranth: UnusedElaboratable=no
"""The register pages between a host and the registers of three cores."""

import random

from amaranth import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator
from amla.rtl.cluster.register_pages import RegisterPages
from amla.rtl.host.csr import REGISTERS, address_of
from amla.rtl.host.registers import Registers

CORES = 3
KEPT = [register.name for register in REGISTERS.values() if register.access == "rw"]


def test_each_page_is_a_core(seed):
    """Random writes, address or data first, responses taken late; reads come back from their core; an unknown register
    and a page of nobody answer SLVERR."""
    rng = random.Random(seed)
    m = Module()
    m.submodules.pages = pages = RegisterPages(CORES)
    for number in range(CORES):
        m.submodules[f"registers_{number}"] = registers = Registers()
        wiring.connect(m, pages.pages[number], registers.bus)
        m.d.comb += registers.value.ID.eq(number + 7)
    bus = pages.bus

    async def pause(ctx):
        for _ in range(rng.choice((0, 0, 1, 4))):
            await ctx.tick()

    async def send(ctx, channel, **payload):
        await pause(ctx)
        for name, value in payload.items():
            ctx.set(getattr(bus, name), value)
        ctx.set(getattr(bus, f"{channel}valid"), 1)
        while not ctx.get(getattr(bus, f"{channel}ready")):
            await ctx.tick()
        await ctx.tick()
        ctx.set(getattr(bus, f"{channel}valid"), 0)

    async def answer(ctx, channel):
        await pause(ctx)
        ctx.set(getattr(bus, f"{channel}ready"), 1)
        for _ in range(20):
            if ctx.get(getattr(bus, f"{channel}valid")):
                break
            await ctx.tick()
        else:
            raise AssertionError(f"{channel}: no answer in 20 cycles")
        found = ctx.get(getattr(bus, f"{channel}resp")), ctx.get(bus.rdata)
        await ctx.tick()
        ctx.set(getattr(bus, f"{channel}ready"), 0)
        return found

    async def write(ctx, address, data, strobe=0xF):
        steps = [("aw", {"awaddr": address}), ("w", {"wdata": data, "wstrb": strobe})]
        rng.shuffle(steps)
        for channel, payload in steps:
            await send(ctx, channel, **payload)
        return (await answer(ctx, "b"))[0]

    async def read(ctx, address):
        await send(ctx, "ar", araddr=address)
        return await answer(ctx, "r")

    async def bench(ctx):
        stored = {}
        for _ in range(150):
            page, name = rng.randrange(CORES), rng.choice(KEPT)
            data, strobe = rng.getrandbits(32), rng.getrandbits(4)
            assert await write(ctx, page << 12 | address_of(name), data, strobe) == 0
            mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
            stored[page, name] = stored.get((page, name), 0) & ~mask | data & mask
            page, name = rng.choice(list(stored))
            assert await read(ctx, page << 12 | address_of(name)) == (0, stored[page, name])
        for page in range(CORES):
            assert await read(ctx, page << 12 | address_of("ID")) == (0, page + 7)
            assert await write(ctx, page << 12 | 0xFFC, 1) == 2
        assert await write(ctx, CORES << 12, 1) == 2
        assert await read(ctx, CORES << 12) == (2, 0)
        for (page, name), value in stored.items():
            assert await read(ctx, page << 12 | address_of(name)) == (0, value)

    simulator = Simulator(m)
    simulator.add_clock(1e-9)
    simulator.add_testbench(bench)
    simulator.run()
