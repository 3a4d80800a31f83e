"""Which images a version was not trained on: only these measure its quality."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice

from registry.versions import Record
from storage.images.port import ImageStore
from training import cases

# Number of stored images to search, as a multiple of those needed.
CANDIDATES = 4


@dataclass(frozen=True)
class TrainedOn:
    """The images that some versions were made of, and those that their answers were held to."""

    names: frozenset[str]
    sha256: frozenset[str]

    @classmethod
    def of(cls, *records: Record | None) -> "TrainedOn":
        """Return the images of the versions with these records; one as delivered has none."""
        found = [record for record in records if record is not None]
        images = [(case.image, case.sha256) for record in found for case in record.cases]
        images += [(image.name, image.sha256) for record in found for image in record.images]
        return cls(frozenset(name for name, _ in images), frozenset(sha256 for _, sha256 in images if sha256))

    def holds(self, content: bytes | None) -> bool:
        """Return whether this is one of the images, under any name; a missing one is none."""
        return content is not None and hashlib.sha256(content).hexdigest() in self.sha256


def unreported(uploads: ImageStore, reported: Collection[str], most: int, trained_on: TrainedOn) -> list[str]:
    """Return the names of at most so many stored images that no one reported and no version was trained on."""
    names = cases.unreported(uploads, reported, CANDIDATES * most)
    # Those that no version is ever trained on come first.
    ordered = sorted(names, key=lambda name: not cases.is_held_out(name))
    others = (name for name in ordered if name not in trained_on.names)
    return list(islice((name for name in others if not trained_on.holds(uploads.read_same(name))), most))
