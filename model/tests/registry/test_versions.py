import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from inference import bundle
from inference.errors import VersionError
from registry import versions
from registry.versions import Case, HeldImage, Record

RECORD = Record(
    "m/1",
    "2026-01-01T00:00:00+00:00",
    (Case("r-1", "a.jpg", "0" * 64, "näme \"'x"),),
    (HeldImage("b.jpg", "1" * 64), HeldImage("/usual/c.jpg", "2" * 64)),
    256,
    ("mirror",),
)


@pytest.fixture
def base(bundles: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "efficientnet-lite0" / "1-int8"
    return Path(shutil.copytree(bundles / "efficientnet-lite0" / "1-int8", folder))


def test_a_new_version_is_a_whole_bundle_with_its_record(base: Path) -> None:
    before = bundle.load(base)
    labels = (*before.labels, 'say "x"')
    made = versions.put(base, "2-int8", before.model, labels, RECORD)
    after = bundle.load(made)
    assert (after.version, after.labels, after.model) == ("2-int8", labels, before.model)
    assert after.preprocessing == before.preprocessing
    assert versions.record_of(made) == RECORD
    assert list(versions.identities(base.parents[1])) == ["efficientnet-lite0/1-int8", "efficientnet-lite0/2-int8"]


def test_a_version_that_is_there_is_never_written_over(base: Path) -> None:
    with pytest.raises(VersionError, match="taken"):
        versions.put(base, "1-int8", b"", (), RECORD)
    for name in ("../x", ".hidden", "a\nb"):
        with pytest.raises(VersionError, match="no name"):
            versions.put(base, name, b"", (), RECORD)


def test_the_next_version_is_the_first_free_number(tmp_path: Path) -> None:
    for name in ("1-int8", "2-int8", "1-fp32", "mine"):
        (tmp_path / name).mkdir()
    assert versions.next_version(tmp_path, "1-int8") == "3-int8"
    assert versions.next_version(tmp_path, "1-fp32") == "2-fp32"
    assert versions.next_version(tmp_path, "mine") == "2-mine"


def test_a_changed_record_is_refused(base: Path) -> None:
    made = versions.put(base, "2-int8", bundle.load(base).model, bundle.load(base).labels, RECORD)
    path = made / versions.RECORD_FILE
    path.write_text(path.read_text().replace("a.jpg", "c.jpg"))
    with pytest.raises(VersionError, match="SHA-256"):
        versions.record_of(made)


def test_a_version_is_found_by_its_name_alone_where_no_other_model_has_it(base: Path) -> None:
    bundles = base.parents[1]
    assert versions.find(bundles, "1-int8") == base
    assert versions.find(bundles, "efficientnet-lite0/1-int8") == base
    with pytest.raises(VersionError, match=r"'3' is no version .*there: efficientnet-lite0/1-int8"):
        versions.find(bundles, "3")


def test_the_base_of_an_improved_version_is_the_one_that_was_never_fitted(base: Path) -> None:
    record = Record(versions.identity(base), RECORD.made_at, (), (), 256, ())
    made = versions.put(base, "2-int8", bundle.load(base).model, bundle.load(base).labels, record)
    assert versions.base_of(base.parents[1], made) == base
    assert versions.base_of(base.parents[1], base) == base


def test_a_record_of_an_earlier_release_is_read() -> None:
    former = {"base": "m/1", "made_at": "", "cases": [], "traffic": ["b.jpg"], "held_to": 1, "ordinary": 256}
    read = Record.decode(json.dumps(former).encode())
    assert read.images == (HeldImage("b.jpg"),)
    assert (read.synthetic, read.augment) == (256, ("mirror", "turn", "recolour", "skew"))


def test_classes_keep_their_numbers_in_every_precision_and_beside_broken_versions(base: Path, bundles: Path) -> None:
    folder = base.parents[1]
    fp32 = Path(shutil.copytree(bundles / "efficientnet-lite0" / "1-fp32", base.with_name("1-fp32")))
    loaded = bundle.load(base)
    assert versions.class_labels(folder, base) == loaded.labels

    def made(version: str, base_version: str, *new: str) -> Path:
        record = replace(RECORD, base=f"efficientnet-lite0/{base_version}", made_at=version)
        return versions.put(base, version, loaded.model, (*loaded.labels, *new), record)

    made("2-int8", "1-int8", "a")
    made("3-int8", "1-int8", "a", "b")
    made("2-fp32", "1-fp32", "a", "b", "c")
    expected = (*loaded.labels, "a", "b", "c")
    assert [versions.class_labels(folder, each) for each in (base, fp32)] == [expected] * 2
    # Renamed since: the one made last knows.
    made("4-int8", "1-int8", "a", "B", "c")
    assert versions.class_labels(folder, base)[-2:] == ("B", "c")
    (made("5-int8", "1-int8", "a", "B", "c", "d") / versions.RECORD_FILE).write_text("{")
    made("6-int8", "1-gone", *"abcdefg")
    assert versions.class_labels(folder, base)[-2:] == ("B", "c")
