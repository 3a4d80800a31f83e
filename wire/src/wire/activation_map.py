"""Where a model looked: how much each place of its last feature map says for one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from wire.codec import Fields

MAX_SIDE: Final = 128
LONGEST_PICTURE_SIDE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ActivationMap:
    """A grid over the part of the picture that the model looked at.

    `values` go row by row; their mean is the class' logit. `picture` is the upright picture's width and height in
    pixels, `view` the left, top, right and bottom of the part.
    """

    label: str
    rows: int
    columns: int
    values: tuple[float, ...]
    picture: tuple[int, int]
    view: tuple[int, int, int, int]

    def fields(self) -> dict[str, object]:
        """Give what travels inside an answer."""
        return {
            "label": self.label,
            "rows": self.rows,
            "columns": self.columns,
            "values": self.values,
            "picture": self.picture,
            "view": self.view,
        }

    @classmethod
    def read(cls, fields: Fields) -> Self:
        """Read what `fields` gave; raises MessageError."""
        rows, columns = fields.integer("rows", 1, MAX_SIDE), fields.integer("columns", 1, MAX_SIDE)
        width, height = fields.integers("picture", 2, 1, LONGEST_PICTURE_SIDE)
        left, top, right, bottom = fields.integers("view", 4, 0, LONGEST_PICTURE_SIDE)
        if not (left < right <= width and top < bottom <= height):
            fields.refuse("field 'view' is no part of the picture")
        values = fields.number_list("values", rows * columns)
        return cls(fields.text("label"), rows, columns, values, (width, height), (left, top, right, bottom))
