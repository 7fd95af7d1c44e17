"""``python -m amla.flow``: see :mod:`amla.flow.price`."""

from amla.rtl.command import run

if __name__ == "__main__":
    run("amla.flow.price", "synth")
