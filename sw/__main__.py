"""``amla``, also as ``python -m amla.sw``: see :mod:`amla.sw.cli`."""

from amla.rtl.command import run


def main() -> None:
    """Entry point of the command."""
    run("amla.sw.cli", "sw")


if __name__ == "__main__":
    main()
