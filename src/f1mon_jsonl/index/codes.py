"""Values that recur, as small numbers, which columns can hold."""

from __future__ import annotations

from typing import Any

NONE = -1
"""No code, row, link, line or instant."""


class Codes:
    """Values that recur, as small numbers."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._codes: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        """The code of a value, made where there is none."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self.values)
            self.values.append(value)
        return code

    def of_all(self, values: list[Any]) -> list[int]:
        """The codes of many values."""
        for value in {*values}.difference(self._codes):
            self.of(value)
        codes = self._codes
        return [codes[value] for value in values]

    def find(self, value: Any) -> int | None:
        """The code of a value, None if it never occurred."""
        return self._codes.get(value)
