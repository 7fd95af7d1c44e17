"""AXI4-Lite manager for the register port ``s_axil_*``; registers by name."""

import copy
import random

from amla.rtl.host.csr import REGISTERS, address_of
from cocotb.triggers import Lock, RisingEdge

from ..signals import Pin

__all__ = ["AxiLiteDriver", "AxiLiteError"]

_TIMEOUT = 1000


class AxiLiteError(AssertionError):
    """An access was answered with an error response, or not at all; the message names the register."""


class AxiLiteDriver:
    """Reads and writes registers, one access at a time.

    Parameters
    ----------
    dut:    top level
    prefix: of the signal names
    rng:    with it, address and data of a write come in random order and responses are taken late at random

    Errors
    ------
    AxiLiteError: the answer is not OKAY, or nothing moves for 1000 cycles.
    """

    def __init__(self, dut, *, prefix: str = "s_axil", rng: random.Random | None = None):
        self._pins = {name: Pin(dut, f"{prefix}_{name}") for name in (
            "awaddr", "awvalid", "awready", "wdata", "wstrb", "wvalid", "wready", "bresp", "bvalid", "bready",
            "araddr", "arvalid", "arready", "rdata", "rresp", "rvalid", "rready")}
        self._edge = RisingEdge(dut.clk)
        self._rng = rng
        self._base = 0
        self._turn = Lock()
        for name in ("awvalid", "wvalid", "bready", "arvalid", "rready"):
            self._pins[name].set(0)

    def page(self, base: int) -> "AxiLiteDriver":
        """The same port, whose registers are those from byte address ``base`` on; accesses of all pages take turns."""
        view = copy.copy(self)
        view._base = base
        return view

    async def write(self, register: str | int, value: int, *, strobe: int = 0b1111) -> None:
        """Write a register, given by name or byte address; returns when the response has been taken."""
        async with self._turn:
            await self._write(register, value, strobe)

    async def _write(self, register: str | int, value: int, strobe: int) -> None:
        pins = self._pins
        pins["awaddr"].set(self._base + _address(register))
        pins["wdata"].set(value)
        pins["wstrb"].set(strobe)
        waiting = {"aw", "w"}
        driven: set[str] = set()
        for _ in range(_TIMEOUT):
            for channel in sorted(waiting - driven):
                if self._rng is None or self._rng.random() < 0.5:
                    pins[f"{channel}valid"].set(1)
                    driven.add(channel)
            await self._edge
            for channel in sorted(waiting & driven):
                if pins[f"{channel}ready"].get():
                    pins[f"{channel}valid"].set(0)
                    waiting.discard(channel)
            if not waiting:
                break
        else:
            raise AxiLiteError(f"write of {register}: {', '.join(sorted(waiting))} not accepted")
        response = await self._answer("b", register)
        if response:
            raise AxiLiteError(f"write of {register} answered response {response}")

    async def read(self, register: str | int) -> int:
        """Read a register, given by name or byte address."""
        async with self._turn:
            return await self._read(register)

    async def _read(self, register: str | int) -> int:
        pins = self._pins
        pins["araddr"].set(self._base + _address(register))
        pins["arvalid"].set(1)
        for _ in range(_TIMEOUT):
            await self._edge
            if pins["arready"].get():
                break
        else:
            raise AxiLiteError(f"read of {register} not accepted")
        pins["arvalid"].set(0)
        response = await self._answer("r", register)
        if response:
            raise AxiLiteError(f"read of {register} answered response {response}")
        return self._data

    async def write_wide(self, name: str, value: int) -> None:
        """Write a 64-bit value to the register pair ``<name>_LO``, ``<name>_HI``."""
        await self.write(f"{name}_LO", value & 0xFFFFFFFF)
        await self.write(f"{name}_HI", value >> 32)

    async def read_fields(self, register: str) -> dict[str, int]:
        """Read a register and split it into its fields."""
        value = await self.read(register)
        return {
            field.name: value >> field.lsb & ((1 << field.width) - 1) for field in REGISTERS[register].fields
        }

    async def _answer(self, channel: str, register: str | int) -> int:
        valid, ready = self._pins[f"{channel}valid"], self._pins[f"{channel}ready"]
        taking = 0
        for _ in range(_TIMEOUT):
            if not taking:
                taking = int(self._rng is None or self._rng.random() < 0.5)
                ready.set(taking)
            await self._edge
            if taking and valid.get():
                ready.set(0)
                if channel == "r":
                    self._data = self._pins["rdata"].get()
                return self._pins[f"{channel}resp"].get()
        raise AxiLiteError(f"access of {register} not answered")


def _address(register: str | int) -> int:
    return address_of(register) if isinstance(register, str) else register
