"""The figures that a run of tests/security came to, told at its end."""

from __future__ import annotations


class Measured:
    """What was measured, in words."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self._most: dict[str, float] = {}

    def most(self, what: str, value: float) -> None:
        """Keep the largest of many values."""
        self._most[what] = max(value, self._most.get(what, value))
        self.told[what] = f"{self._most[what]:.3g}"
