"""Errors that a person can mend: one line with the values, one with the way out, exit code 2.

Anything that is not a `UserError` is a bug of ours and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something that the person can mend.

    Args:
        problem: what was found, with the values.
        remedy: what to do about it; empty where the problem says it.
    """

    exit_code = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(f"{problem}; {remedy}" if remedy else problem)
        self.problem = problem
        self.remedy = remedy


class BadInput(UserError):
    """A scan, prompt or option that cannot be used."""


class MissingWeights(UserError):
    """Weights that are not on this machine; the remedy says how to get them."""


class WrongHash(UserError):
    """Weights whose SHA-256 differs from the pinned one."""


class MissingExtra(UserError):
    """An optional package that this feature needs."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package", f"pip install 'medclipsam[{extra}]'")


class CannotWrite(UserError):
    """An output that cannot be written."""
