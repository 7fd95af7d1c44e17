"""``python -m amla.rtl --config small --out build/small``: write the Verilog of a core, or of a cluster of cores."""

if __name__ == "__main__":
    from amla.rtl.command import run

    run("amla.rtl.__main__", "rtl")

import argparse
from pathlib import Path

from .cluster.cluster import MOST_CORES, AmlaCluster
from .config import CoreConfig
from .core import AmlaCore
from .emit import emit


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m amla.rtl", description="Write the Verilog.")
    parser.add_argument("--config", default="small", help="name under configs/ or path of a YAML file")
    parser.add_argument("--cores", type=int, choices=range(1, MOST_CORES + 1), default=1, metavar="N",
                        help=f"from 2 to {MOST_CORES}: a cluster (default: a core by itself)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments = parser.parse_args()
    config = CoreConfig.load(arguments.config)
    single = arguments.cores == 1
    name = "amla_core" if single else "amla_cluster"
    top = AmlaCore(config) if single else AmlaCluster(config, cores=arguments.cores)
    leaves = emit(top, name=name, out=arguments.out)
    print(f"{arguments.out / name}.v: {config.name}, leaves {', '.join(leaves)}")

