"""The register map: defined here once. The RTL, the driver, the C header and ``docs/registers.md`` derive from it."""

from dataclasses import dataclass

from ..isa import ENGINE_STATES, Engine

__all__ = ["ID_VALUE", "REGISTERS", "Field", "Register", "address_of"]

#: ``ID`` reads as this: "AMLA" in ASCII.
ID_VALUE = 0x414D4C41


@dataclass(frozen=True)
class Field:
    """Bits ``[lsb, lsb + width)`` of a register."""

    name: str
    lsb: int
    width: int
    doc: str


@dataclass(frozen=True)
class Register:
    """One 32-bit register at a byte address; ``access`` is ``"ro"``, ``"rw"``, ``"w1"`` (write one to
    act, reads as zero) or ``"w1c"`` (write one to clear)."""

    name: str
    address: int
    access: str
    doc: str
    fields: tuple[Field, ...] = ()


def _registers():
    plan = [
        ("ID", "ro", 'reads 0x414D4C41, "AMLA"', ()),
        ("VERSION", "ro", "interface version: major << 16 | minor", ()),
        ("CUBE", "ro", "cube size", (Field("M", 0, 8, "rows"), Field("N", 8, 8, "columns"),
                                     Field("K", 16, 8, "depth"), Field("LANES", 24, 8, "vector lanes per row"))),
        ("NUMERICS", "ro", "arithmetic parameters",
         (Field("ACC_FRAC_BITS", 0, 8, "alignment bits of fdpa"),
          Field("COMP_BITS", 8, 8, "index bits of the row offsets"),
          Field("MODE", 16, 4, "0 amla, 1 mul, 2 pow2"), Field("FORMAT", 20, 3, "0 bf16, 1 fp16"),
          Field("P_FORMAT", 23, 1, "of P: 0 operand, 1 u6.10"),
          Field("BEAT_BYTES", 24, 8, "AXI data bytes"))),
        ("CTRL", "w1", "control", (Field("START", 0, 1, "run the program"),
                                   Field("SOFT_RESET", 1, 1, "clear engines, queues, errors and counters"))),
        ("STATUS", "ro", "state",
         (Field("RUNNING", 0, 1, "a program runs"), Field("DONE", 1, 1, "HALT reached"),
          Field("ERROR", 2, 1, "stopped by a fault"),
          Field("NONFINITE", 3, 1, "sticky: a NaN weight, or a NaN or infinite output"),
          Field("QUIET", 4, 1, "no AXI transaction outstanding"))),
        ("IRQ", "w1c", "interrupt; write one to clear",
         (Field("PENDING", 0, 1, "program done or stopped by a fault"),)),
        ("IRQ_ENABLE", "rw", "interrupt enable", (Field("ENABLE", 0, 1, "drive the irq output"),)),
        ("PROGRAM_BASE_LO", "rw", "byte address of the first command, low word (a multiple of the AXI beat)", ()),
        ("PROGRAM_BASE_HI", "rw", "high word", ()),
        ("PROGRAM_LENGTH", "rw", "halfwords (16 bits) of the program", ()),
        ("READ_BASE_LO", "rw", "first byte the core may read", ()),
        ("READ_BASE_HI", "rw", "high word", ()),
        ("READ_LIMIT_LO", "rw", "first byte past the read window", ()),
        ("READ_LIMIT_HI", "rw", "high word", ()),
        ("WRITE_BASE_LO", "rw", "first byte the core may write", ()),
        ("WRITE_BASE_HI", "rw", "high word", ()),
        ("WRITE_LIMIT_LO", "rw", "first byte past the write window", ()),
        ("WRITE_LIMIT_HI", "rw", "high word", ()),
        ("SCALE", "rw", "FP32 word of softmax_scale · log2(e)", ()),
        ("WATCHDOG", "rw", "cycles without progress before the fault WATCHDOG; 0 disables", ()),
        ("ERROR_CODE", "ro", "first fault (`Fault`)", ()),
        ("ERROR_ENGINE", "ro", "engine of the first fault (`Engine`)", ()),
        ("ERROR_INDEX", "ro", "index of the command at fault in the program", ()),
        ("CYCLES", "ro", "cycles from START to the interrupt", ()),
        ("CUBE_ACTIVE", "ro", "cycles in which a fractal triple issued", ()),
        ("ERROR_ROW", "ro", "row of the LOAD or GATHER at fault: of its list, where an entry is", ()),
    ]
    address, out = 0, []
    for name, access, doc, fields in plan:
        out.append(Register(name, address, access, doc, fields))
        address += 4
    address = 0x100
    for engine in Engine:
        for counter, doc in ENGINE_STATES.items():
            out.append(Register(f"{engine.name}_{counter}", address, "ro", f"cycles of `{engine.name.lower()}`: {doc}"))
            address += 4
    return {register.name: register for register in out}


#: All registers by name, in address order.
REGISTERS: dict[str, Register] = _registers()


def address_of(name: str) -> int:
    """Byte address of register ``name``."""
    return REGISTERS[name].address
