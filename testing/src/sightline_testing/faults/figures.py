"""Figures that a full run measures and compares with their targets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value and its target: at most `most`, at least `least`."""

    what: str
    value: float
    unit: str = "s"
    most: float = float("inf")
    least: float = float("-inf")

    @property
    def is_met(self) -> bool:
        """Whether it is as good as it should be."""
        return self.least <= self.value <= self.most

    def __str__(self) -> str:
        asked = [f"at {kind} {bound:g}" for kind, bound in (("least", self.least), ("most", self.most))]
        bounds = ", ".join(each for each in asked if not each.endswith("inf"))
        return f"{self.what} {self.value:.3g} {self.unit} ({bounds or 'no target'}){'' if self.is_met else ' MISSED'}"
