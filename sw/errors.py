"""The one error that a user of the tools sees."""

__all__ = ["AmlaError"]


class AmlaError(Exception):
    """Something the user gave is wrong: one line that names the thing, the rule and the value."""
