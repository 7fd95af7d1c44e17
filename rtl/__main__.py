"""``python -m amla.rtl --config small --out build/small``: write the Verilog of a core."""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.rtl.__main__", "rtl")

import argparse
from pathlib import Path

from .config import CoreConfig
from .core import AmlaCore
from .emit import emit


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m amla.rtl", description="Write the Verilog of a core.")
    parser.add_argument("--config", default="small", help="name under configs/ or path of a YAML file")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    config = CoreConfig.load(arguments.config)
    leaves = emit(AmlaCore(config), name="amla_core", out=arguments.out)
    print(f"{arguments.out / 'amla_core.v'}: {config.name}, leaves {', '.join(leaves)}")

