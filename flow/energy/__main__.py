"""``python -m amla.flow.energy``: see :mod:`amla.flow.energy.command`."""

from amla.rtl.command import run

if __name__ == "__main__":
    run("amla.flow.energy.command", "synth", "sim")
