"""Bench of the AXI4-Lite register file: random accesses with random pauses against a dictionary."""

import random

import cocotb
from amla.rtl.host.csr import REGISTERS
from amla.tb.signals import Pin
from amla.tb.stream import reset, start_clock, until
from cocotb.triggers import RisingEdge

OKAY, SLVERR = 0, 2


class Host:
    """AXI4-Lite manager with random pauses on every channel."""

    def __init__(self, dut, rng):
        self.dut, self.rng = dut, rng
        names = ("awaddr", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready", "bresp", "bvalid", "bready",
                 "araddr", "arvalid", "arready", "rdata", "rresp", "rvalid", "rready")
        self.pin = {name: Pin(dut, f"bus__{name}") for name in names}
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            self.pin[name].set(0)

    async def _pause(self):
        while self.rng.random() < 0.4:
            await RisingEdge(self.dut.clk)

    async def _offer(self, channel, **payload):
        await self._pause()
        for name, value in payload.items():
            self.pin[name].set(value)
        self.pin[f"{channel}valid"].set(1)
        await RisingEdge(self.dut.clk)
        await until(self.dut, self.pin[f"{channel}ready"].get, f"{channel}ready")
        self.pin[f"{channel}valid"].set(0)

    async def _take(self, channel, *names):
        await self._pause()
        self.pin[f"{channel}ready"].set(1)
        await RisingEdge(self.dut.clk)
        await until(self.dut, self.pin[f"{channel}valid"].get, f"{channel}valid")
        self.pin[f"{channel}ready"].set(0)
        return [self.pin[name].get() for name in names]

    async def write(self, address, data, strobe=0xF):
        address_task = cocotb.start_soon(self._offer("aw", awaddr=address))
        data_task = cocotb.start_soon(self._offer("w", wdata=data, wstrb=strobe))
        response = cocotb.start_soon(self._take("b", "bresp"))
        await address_task
        await data_task
        return (await response)[0]

    async def read(self, address):
        response = cocotb.start_soon(self._take("r", "rdata", "rresp"))
        await self._offer("ar", araddr=address)
        return await response


@cocotb.test()
async def behaves_like_a_dictionary(dut):
    """Stored registers keep what was written, byte by byte; the others read their input; unknown ones err."""
    rng = random.Random(cocotb.RANDOM_SEED)
    start_clock(dut)
    host = Host(dut, rng)
    content = {}
    for register in REGISTERS.values():
        if register.access == "rw":
            content[register.name] = 0
        elif register.access in ("ro", "w1c"):
            content[register.name] = rng.getrandbits(32)
            Pin(dut, f"value__{register.name}").set(content[register.name])
        else:
            content[register.name] = 0
    acting = {name: Pin(dut, f"written__{name}") for name, r in REGISTERS.items() if r.access in ("w1", "w1c")}
    seen: list[tuple[str, int]] = []

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            seen.extend((name, pin.get()) for name, pin in acting.items() if pin.get())

    await reset(dut)
    cocotb.start_soon(watch())
    by_address = {register.address: register for register in REGISTERS.values()}
    expected_seen = []
    for step in range(1500):
        address = rng.choice([*by_address]) if rng.random() < 0.9 else 4 * rng.randrange(1024)
        register = by_address.get(address)
        if rng.random() < 0.5:
            data, strobe = rng.getrandbits(32), rng.randrange(16)
            mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
            response = await host.write(address, data, strobe)
            assert response == (SLVERR if register is None else OKAY), f"step {step}: write {address:#x}: {response}"
            if register is not None and register.access == "rw":
                content[register.name] = content[register.name] & ~mask | data & mask
            elif register is not None and register.access in ("w1", "w1c") and data & mask:
                expected_seen.append((register.name, data & mask))
        else:
            data, response = await host.read(address)
            if register is None:
                assert (data, response) == (0, SLVERR), f"step {step}: read {address:#x}"
            else:
                assert (data, response) == (content[register.name], OKAY), \
                    f"step {step}: {register.name} reads {data:#x}, not {content[register.name]:#x}"
    assert seen == expected_seen and len(seen) > 5
    for name in content:
        if REGISTERS[name].access == "rw":
            assert Pin(dut, f"stored__{name}").get() == content[name]
