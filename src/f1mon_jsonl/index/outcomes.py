"""The links of outcomes: each prediction has a chain of them."""

from __future__ import annotations

from array import array


class Outcomes:
    """A link for each outcome."""

    def __init__(self) -> None:
        self.known = array("q")
        self.actual = array("i")
        self.row = array("i")
        self.following: dict[int, int] = {}
        """The next link of the same prediction, where there is one."""
        self.line = array("i")
        self.item = array("I")
