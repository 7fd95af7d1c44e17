"""``python -m amla.sw.accuracy``: see :mod:`amla.sw.accuracy.study`."""

from amla.rtl.command import run

if __name__ == "__main__":
    run("amla.sw.accuracy.study", "sw", "plots")
