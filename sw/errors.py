"""The one error that a user of the tools sees."""

from amla.rtl.errors import AmlaError

__all__ = ["AmlaError"]
