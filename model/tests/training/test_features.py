"""Features of synthetic images are computed once for a bundle, and again where they would be others."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from inference import bundle, compiled
from inference.arrays import Floats
from tests.bundle_copies import copied
from training.augmentation import synthetic_images
from training.features import FeatureExtractor
from training.progress import Item


class Computed:
    """Whether features were computed since the last call, by the reported progress."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    def __call__(self, _what: str, count: int, items: Iterable[Item]) -> Iterator[Item]:
        self.counts.append(count)
        return iter(items)

    def since(self) -> list[int]:
        counts, self.counts = self.counts, []
        return counts


@pytest.fixture(scope="module")
def extractor(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    folder = tmp_path_factory.mktemp("features") / "bundles" / "net" / "1"
    return FeatureExtractor(bundle.load(copied(bundles, folder)), "openvino", 1)


def kept_in(extractor: FeatureExtractor) -> list[Path]:
    folder = extractor.bundle.folder
    assert folder is not None
    return sorted((folder / compiled.FOLDER).glob("features-*"))


def test_features_are_kept_and_taken_while_they_are_those_of_the_images(extractor: FeatureExtractor) -> None:
    computed = Computed()
    expected = np.concatenate(list(extractor.of_pixels(synthetic_images(5, *extractor.bundle.preprocessing.size))))

    def given(count: int) -> Floats:
        rows = extractor.of_synthetic(count, computed)
        assert np.array_equal(rows, expected[:count])
        return rows

    given(4)
    assert computed.since() == [4]
    for count in (4, 3, 1):
        given(count)
    assert computed.since() == []
    given(5)
    assert computed.since() == [5]
    # Signed by this installation, but of other images: of another generator, or of another release of the engine.
    [path] = kept_in(extractor)
    compiled.keep(extractor.bundle.folder, path.name, (expected + 1).tobytes())
    given(5)
    assert computed.since() == [5]
    for damage in (b"", path.read_bytes()[:-4], bytes(path.stat().st_size)):
        path.write_bytes(damage)
        given(5)
        assert computed.since() == [5]
    assert kept_in(extractor) == [path]
