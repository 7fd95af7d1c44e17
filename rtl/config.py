"""Core configuration: one frozen, validated dataclass, loaded from YAML under ``configs/``."""

from dataclasses import MISSING, dataclass, fields
from pathlib import Path

from amla.model.checks import as_index

from .errors import AmlaError, shown
from .files import FILE_NAME, is_file_name
from .fp.word import OPERANDS, U6_10, Format
from .isa import LAYOUTS, Opcode
from .yaml_file import load_yaml

__all__ = ["MODES", "P_FORMATS", "ConfigError", "CoreConfig"]

#: Rescale modes that the RTL implements, in the encoding of the register NUMERICS.MODE.
MODES = ("amla", "mul", "pow2")

#: Formats of P, in the encoding of the register NUMERICS.P_FORMAT.
P_FORMATS = ("operand", "u6.10")


#: Words that a command can name: of L1, of any other buffer; and rows that one LOAD can bring.
_L1_WORDS = 1 << LAYOUTS[Opcode.LOAD]["l1"].width
_WORDS = 1 << LAYOUTS[Opcode.MMAD]["l0a"].width
_MAX_ROWS = (1 << LAYOUTS[Opcode.LOAD]["rows"].width) - 1

#: Bytes of a buffer's word, at most: Amaranth gives no cell 2^16 bits, and words are powers of two.
_PORT_BYTES = 4096


class ConfigError(AmlaError, ValueError):
    """A configuration is wrong: the message names the key, the rule and the value."""


def _is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """Parameters of one core. All buffer sizes in bytes.

    Attributes
    ----------
    name:            label used in build folders and reports
    m, n, k:         cube size: it takes an m×k and an n×k fractal each cycle
    lanes:           columns per cycle in drain and vector (of m rows each)
    mode:            rescale mode of the accumulate lanes, one of :data:`MODES`
    format:          format of Q, KV and the output: bf16 or fp16
    p_format:        format of P: u6.10, or operand for that of Q and KV
    acc_frac_bits:   alignment bits F of ``fdpa``
    comp_bits:       index bits k of the row offsets
    kv_block:        keys per KV block (rescale interval)
    axi_data_bytes:  bytes per AXI beat
    axi_address_bits: width of AXI addresses
    axi_in_flight_bytes: that load, and likewise store, may have requested and not been answered
    l1_bytes ... lse: capacities of the buffers
    max_rows:        rows of one row tile
    state_rows:      rows of row state (several row tiles)
    queue_depth:     commands that wait in each engine's queue

    Raises
    ------
    ConfigError: a value breaks its rule.
    """

    name: str
    m: int
    n: int
    k: int
    lanes: int
    kv_block: int
    max_rows: int
    l1_bytes: int
    l0a_bytes: int
    l0b_bytes: int
    l0c_bytes: int
    s_bytes: int
    o_bytes: int
    out_bytes: int
    mode: str = "amla"
    format: str = "bf16"
    p_format: str = "u6.10"
    acc_frac_bits: int = 30
    comp_bits: int = 0
    axi_data_bytes: int = 64
    axi_address_bits: int = 40
    axi_in_flight_bytes: int = 65536
    state_rows: int = 0
    queue_depth: int = 16

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and (integer := as_index(value)) is not None:
                value = integer
                object.__setattr__(self, field.name, value)
            if type(value) is not field.type:
                raise ConfigError(f"{field.name} must be of type {field.type.__name__}, not {shown(value)}")  # type: ignore[union-attr]
        self._check("name", is_file_name(self.name), FILE_NAME)
        if self.state_rows == 0:
            object.__setattr__(self, "state_rows", min(4 * self.max_rows, _WORDS * self.m))
        for key in ("m", "n", "k", "lanes", "axi_data_bytes"):
            value = getattr(self, key)
            self._check(key, value <= 128 and _is_power_of_two(value), "a power of two up to 128")
        self._check("mode", self.mode in MODES, f"one of {', '.join(MODES)}")
        self._check("format", self.format in OPERANDS, f"one of {', '.join(OPERANDS)}")
        self._check("p_format", self.p_format in P_FORMATS, f"one of {', '.join(P_FORMATS)}")
        self._check("k", self.k >= self.n, f"at least n = {self.n}")
        self._check("lanes", self.lanes <= self.n, f"at most n = {self.n}")
        self._check("axi_data_bytes", self.beat_elements >= self.k, f"at least 2·k = {2 * self.k} bytes")
        self._check("axi_data_bytes", self.axi_data_bytes >= 4 * self.m, f"at least 4·m = {4 * self.m} bytes")
        widest = min(_PORT_BYTES // (2 * self.k), _PORT_BYTES // (4 * self.m))  # L0B, L0C
        self._check("n", self.n <= widest, f"at most {widest} at m = {self.m} and k = {self.k}")
        self._check("axi_address_bits", 16 <= self.axi_address_bits <= 48, "from 16 to 48")
        # The longest burst, a page, must fit.
        self._check("axi_in_flight_bytes", self.axi_in_flight_bytes % self.axi_data_bytes == 0
                    and 4096 <= self.axi_in_flight_bytes <= 1 << 18,
                    f"a multiple of the beat of {self.axi_data_bytes} bytes, from 4096 to {1 << 18}")
        self._check("acc_frac_bits", 24 <= self.acc_frac_bits <= 40, "from 24 to 40")
        self._check("comp_bits", 0 <= self.comp_bits <= 3, "from 0 to 3")
        self._check("queue_depth", 2 <= self.queue_depth <= 256, "from 2 to 256")
        self._check("kv_block", self.kv_block > 0 and self.kv_block % self.k == 0,
                    f"a positive multiple of k = {self.k}")
        self._check("kv_block", self.kv_block <= 4096, "at most 4096")
        for key in ("max_rows", "state_rows"):
            value = getattr(self, key)
            self._check(key, value > 0 and value % self.m == 0, f"a positive multiple of m = {self.m}")
        self._check("max_rows", self.max_rows <= _MAX_ROWS, f"at most {_MAX_ROWS}")
        self._check("state_rows", self.state_words <= _WORDS, f"at most {_WORDS}·m = {_WORDS * self.m}")
        for key, word in self._word_bytes().items():
            words, rest = divmod(getattr(self, f"{key}_bytes"), word)
            most = _L1_WORDS if key == "l1" else _WORDS
            self._check(f"{key}_bytes", 2 <= words <= most and not rest,
                        f"a multiple of its word of {word} bytes, from 2 to {most} words")
            self._check(f"{key}_bytes", key not in ("l0c", "o") or words % 2 == 0,
                        f"an even number of words of {word} bytes, two banks")
        self._check("l1_bytes", self.l1_words % self.l1_banks == 0, f"a multiple of {self.l1_banks} banks")

    def _check(self, key: str, ok: bool, rule: str) -> None:
        if not ok:
            raise ConfigError(f"{key} must be {rule}, not {shown(getattr(self, key))}")

    def _word_bytes(self) -> dict[str, int]:
        return {
            "l1": max(self.m, self.n) * self.k * 2,
            "l0a": self.m * self.k * 2,
            "l0b": self.n * self.k * 2,
            "l0c": self.m * self.n * 4,
            "s": self.m * self.lanes * 4,
            "o": self.m * self.lanes * 4,
            "out": self.m * self.beat_elements * 2,
        }

    @property
    def state_fields(self) -> tuple[str, ...]:
        """FP32 words of a row's state that the mode needs: m, c, l, L of ``docs/numerics.md``."""
        return {"amla": ("m", "c", "l", "L"), "mul": ("m", "L"), "pow2": ("m", "l", "L")}[self.mode]

    @property
    def operand(self) -> Format:
        """Format of Q, KV and the output."""
        return OPERANDS[self.format]

    @property
    def p(self) -> Format:
        """Format of P."""
        return self.operand if self.p_format == "operand" else U6_10

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates of the cube per cycle."""
        return self.m * self.n * self.k

    @property
    def beat_elements(self) -> int:
        """16-bit elements in one AXI beat."""
        return self.axi_data_bytes // 2

    @property
    def l1_banks(self) -> int:
        """Banks of L1: word w lies in bank w mod l1_banks, so that one beat is written in one cycle."""
        return self.beat_elements // self.k

    @property
    def l1_words(self) -> int:
        """Fractals that L1 holds."""
        return self.l1_bytes // self._word_bytes()["l1"]

    @property
    def l0a_words(self) -> int:
        """Fractals that L0A holds."""
        return self.l0a_bytes // self._word_bytes()["l0a"]

    @property
    def l0b_words(self) -> int:
        """Fractals that L0B holds."""
        return self.l0b_bytes // self._word_bytes()["l0b"]

    @property
    def l0c_words(self) -> int:
        """Fractals that L0C holds."""
        return self.l0c_bytes // self._word_bytes()["l0c"]

    @property
    def s_words(self) -> int:
        """Lane groups that the S buffer holds."""
        return self.s_bytes // self._word_bytes()["s"]

    @property
    def o_words(self) -> int:
        """Lane groups that the O buffer holds."""
        return self.o_bytes // self._word_bytes()["o"]

    @property
    def out_words(self) -> int:
        """Row-group beats that the OUT buffer holds."""
        return self.out_bytes // self._word_bytes()["out"]

    @property
    def state_words(self) -> int:
        """Row groups of row state; row maxima, row offsets, LSE and sinks have as many."""
        return self.state_rows // self.m

    @property
    def sram_bytes(self) -> dict[str, int]:
        """Bytes of every buffer; ``state``: the row state, with row maxima, row offsets, 1/l, LSE and sinks.

        Row maxima and m count twice, as two engines, and the two halves of the vector engine, each have a copy.
        """
        sums = sum(name in ("l", "L") for name in self.state_fields)  # which have a base each
        per_row = 4 * (len(self.state_fields) + sums + 6) + (4 << self.comp_bits) + (2 if self.mode == "amla" else 0)
        buffers = {key: getattr(self, f"{key}_bytes") for key in self._word_bytes()}
        return {**buffers, "state": self.state_rows * per_row}

    @classmethod
    def from_dict(cls, values: dict, *, source: str = "configuration") -> "CoreConfig":
        """Build a configuration from a mapping such as a YAML document; unknown and missing keys are errors."""
        if not isinstance(values, dict):
            raise ConfigError(f"{source} must be a mapping of keys to values, not {shown(values)}")
        known = {field.name: field for field in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(f"{source}: unknown key {shown(key)}; known keys are {', '.join(known)}")
        missing = [key for key, field in known.items() if field.default is MISSING and key not in values]
        if missing:
            raise ConfigError(f"{source}: missing key {missing[0]!r}")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    @classmethod
    def load(cls, name_or_path: str | Path) -> "CoreConfig":
        """Load ``configs/<name>.yaml`` or a YAML file given by its path."""
        path, values = load_yaml(name_or_path, kind="configuration", error=ConfigError)
        return cls.from_dict(values, source=path.name)
