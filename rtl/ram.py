"""Memories in Verilog: one small module per shape.

Amaranth writes the initial word of every address, zeros too; for megabytes of buffers that is most of the
time and text of emission. A memory that starts as zeros is therefore written as a module of its own,
without contents: a simulator starts it at zero, and a chip puts its SRAM macro in the module's place.
"""

from amaranth import ClockSignal, Instance, Value
from amaranth.lib import memory

__all__ = ["ram", "ram_instance"]


def ram(cells: memory.Memory) -> tuple[str, str] | None:
    """Name and Verilog of the module that stands for ``cells``, or None where Amaranth's own must be used.

    The module has one write port with an enable per grain and synchronous read ports that hold their word;
    a read sees the word before a write of the same cycle.
    """
    plain = (
        cells.depth > 1
        and len(cells.write_ports) == 1
        and all(port.domain == "sync" and not port.transparent_for for port in cells.read_ports)
        and not any(cells.init)
    )
    if not plain:
        return None
    width, depth, grains, reads = cells.shape, cells.depth, len(cells.write_ports[0].en), len(cells.read_ports)
    grain, top = width // grains, (depth - 1).bit_length() - 1
    name = f"ram_{depth}x{width}_{grains}w{reads}r"
    ports = [f"  input clk, input [{top}:0] w_addr, input [{grains - 1}:0] w_en, input [{width - 1}:0] w_data"]
    ports += [f"  input [{top}:0] r{i}_addr, input r{i}_en, output reg [{width - 1}:0] r{i}_data"
              for i in range(reads)]
    bits = [f"[{(i + 1) * grain - 1}:{i * grain}]" for i in range(grains)] if grains > 1 else [""]
    body = [f"    if (w_en[{i}]) cells[w_addr]{part} <= w_data{part};" for i, part in enumerate(bits)]
    body += [f"    if (r{i}_en) r{i}_data <= cells[r{i}_addr];" for i in range(reads)]
    return name, "\n".join([
        f"module {name}(", ",\n".join(ports) + ");", f"  reg [{width - 1}:0] cells [0:{depth - 1}];",
        "  always @(posedge clk) begin", *body, "  end", "endmodule", ""])


def ram_instance(name: str, cells: memory.Memory) -> Instance:
    """``cells`` as an instance of module ``name``."""
    write, = cells.write_ports
    ports: dict[str, Value] = {
        "i_clk": ClockSignal(), "i_w_addr": write.addr, "i_w_en": write.en, "i_w_data": write.data}
    for i, port in enumerate(cells.read_ports):
        ports |= {f"i_r{i}_addr": port.addr, f"i_r{i}_en": port.en, f"o_r{i}_data": port.data}
    return Instance(name, **ports)
