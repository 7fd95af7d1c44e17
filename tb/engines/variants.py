"""Configurations that the engine benches build: ``tiny``-like cores of different proportions."""

from dataclasses import replace

from amla.rtl.config import CoreConfig

__all__ = ["VARIANTS"]

#: square: the cube of ``tiny``; wide: m > n, k/n = 4, one lane, one L1 bank, no compensation index, P in
#: BF16;
#: tall: m < n, a whole fractal per lane group, four L1 banks, mode ``mul``; integer: tall in mode ``pow2``;
#: deep: every bit of the fields that address buffers counts. The depths of L0 and S are no powers of two, so that
#: the end of a buffer is not the end of its address.
VARIANTS = {
    "square": CoreConfig(name="square", m=4, n=4, k=4, lanes=2, kv_block=16, max_rows=16, axi_data_bytes=16,
                         l1_bytes=64 * 32, l0a_bytes=24 * 32, l0b_bytes=20 * 32, l0c_bytes=40 * 64,
                         s_bytes=48 * 32, o_bytes=40 * 32, out_bytes=4 * 64, state_rows=32),
    "wide": CoreConfig(name="wide", m=4, n=2, k=8, lanes=1, kv_block=16, max_rows=16, axi_data_bytes=16,
                       l1_bytes=72 * 64, l0a_bytes=24 * 64, l0b_bytes=36 * 32, l0c_bytes=40 * 32,
                       s_bytes=48 * 16, o_bytes=40 * 16, out_bytes=4 * 64, state_rows=24, comp_bits=0,
                       p_format="operand"),
    "tall": CoreConfig(name="tall", m=2, n=4, k=4, lanes=4, kv_block=16, max_rows=16, axi_data_bytes=32,
                       l1_bytes=80 * 32, l0a_bytes=24 * 16, l0b_bytes=20 * 32, l0c_bytes=40 * 32,
                       s_bytes=48 * 32, o_bytes=40 * 32, out_bytes=4 * 64, state_rows=14, mode="mul"),
}
VARIANTS["deep"] = CoreConfig(name="deep", m=2, n=2, k=2, lanes=1, kv_block=16, max_rows=16, axi_data_bytes=8,
                             l1_bytes=8 * 200_000, l0a_bytes=8 * 65_529, l0b_bytes=8 * 65_529, l0c_bytes=16 * 65_530,
                             s_bytes=8 * 65_529, o_bytes=8 * 65_530, out_bytes=16 * 65_529, state_rows=2 * 65_529)
VARIANTS["integer"] = replace(VARIANTS["tall"], name="integer", mode="pow2", comp_bits=1)
