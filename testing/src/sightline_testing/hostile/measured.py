"""The figures of a run of tests/security, printed at its end."""

from __future__ import annotations


class Measured:
    """A measured figure as a line of text."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self._most: dict[str, float] = {}

    def most(self, what: str, value: float) -> None:
        """Keep the largest of many values."""
        self._most[what] = max(value, self._most.get(what, value))
        self.told[what] = f"{self._most[what]:.3g}"
