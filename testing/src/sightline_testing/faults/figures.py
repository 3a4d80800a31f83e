"""Figures that a full run measures and holds against what was asked of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and what is asked: at most `most`, at least `least`."""

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
        told = ", ".join(each for each in asked if not each.endswith("inf"))
        return f"{self.what} {self.value:.3g} {self.unit} ({told or 'not asked'}){'' if self.is_met else ' MISSED'}"
