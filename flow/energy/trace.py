"""A VCD file as one word per bit of a signal: bit t of the word is the signal's value in cycle t.

The format: IEEE 1800-2017, clause 21.7. A cycle begins with a rising edge of the clock, its values are the last ones
before the next.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from ..tools import FlowError

__all__ = ["Trace"]

_VARIABLE = re.compile(r"\$var\s+\w+\s+(\d+)\s+(\S+)\s+(\S+)")


class Trace:
    """Signals of a VCD file, by path.

    Parameters
    ----------
    path:  the file
    scope: only what is in it, under names without it
    clock: name of the clock in the scope

    Raises
    ------
    FlowError: the file has no such clock.
    """

    def __init__(self, path: Path, *, scope: str, clock: str):
        self.path = path
        self._clock = clock
        self._variables: dict[str, tuple[str, int]] = {}
        self._header(scope)
        if clock not in self:
            raise FlowError(f"{path} must hold the clock {scope}.{clock}")

    def _header(self, scope: str) -> None:
        places: list[str] = []
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                words = line.split()
                if "$enddefinitions" in words:
                    break
                if words[:1] == ["$scope"]:
                    places.append(words[2])
                elif words[:1] == ["$upscope"]:
                    places.pop()
                elif places[:1] == [scope] and (found := _VARIABLE.search(line)):
                    width, code, name = found.groups()
                    self._variables[".".join([*places[1:], name])] = (code, int(width))

    def __contains__(self, name: str) -> bool:
        """Whether there is a signal of this path."""
        return name in self._variables

    def read(self, names: Iterable[str]) -> tuple[int, dict[str, list[int]]]:
        """Number of cycles, and the words of each signal's bits, the lowest first.

        Raises
        ------
        FlowError: a value is neither 0 nor 1.
        """
        wanted = {name: self._variables[name] for name in {*names, self._clock}}
        changes = self._changes({code for code, _ in wanted.values()})
        times, values = changes[self._variables[self._clock][0]]
        edges = np.array([time for time, value in zip(times, values, strict=True) if value == "1"])
        cycles = np.arange(1, len(edges) + 1)
        words: dict[str, list[int]] = {}
        for name, (code, width) in wanted.items():
            times, values = changes[code]
            begun = np.searchsorted(edges, times, "right")  # the cycle in which it changed, from 1 on
            last = np.searchsorted(begun, cycles, "right") - 1
            try:
                rows = np.frombuffer("".join(value.zfill(width) for value in values).encode("ascii"), np.uint8)
                table = rows.reshape(-1, width) - ord("0")
            except ValueError:
                raise FlowError(f"{self.path}: values of {name} must have {width} bits") from None
            if (table > 1).any():
                raise FlowError(f"{self.path}: values of {name} must be 0 or 1 in every bit")
            packed = np.packbits(table[last][:, ::-1], axis=0, bitorder="little")
            words[name] = [int.from_bytes(packed[:, bit].tobytes(), "little") for bit in range(width)]
        return len(edges), words

    def _changes(self, codes: set[str]) -> dict[str, tuple[list[int], list[str]]]:
        """Times and values of the signals of these codes."""
        found: dict[str, tuple[list[int], list[str]]] = {code: ([], []) for code in codes}
        time = 0
        for line in self._body():
            if line[0] == "#":
                time = int(line[1:])
            elif line[0] == "b":
                value, code = line[1:].split()
                if code in found:
                    found[code][0].append(time)
                    found[code][1].append(value)
            elif line[0] in "01xzXZ" and (code := line[1:].rstrip()) in found:
                found[code][0].append(time)
                found[code][1].append(line[0])
        return found

    def _body(self) -> Iterator[str]:
        with open(self.path, encoding="utf-8") as file:
            for line in file:
                if line.startswith("$enddefinitions"):
                    break
            yield from (line for line in file if not line.isspace())
