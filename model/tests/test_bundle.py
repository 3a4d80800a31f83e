import hashlib
import shutil
from pathlib import Path

import pytest

from inference import bundle
from inference.errors import BundleError
from tests.bundle_copies import sealed
from tests.test_onnx_file import with_external_weights


@pytest.fixture
def copied(bundles: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles / "efficientnet-lite0" / "1-int8", tmp_path / "1-int8"))


def digest(folder: Path) -> str:
    return bundle.load(folder).digest


def edited(folder: Path, old: str, new: str) -> Path:
    path = folder / bundle.DESCRIPTION_FILE
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        bundle.load(folder)
    return str(caught.value)


def test_the_default_bundle_is_whole(copied: Path) -> None:
    loaded = bundle.load(copied)
    assert (loaded.name, loaded.version, loaded.precision) == ("efficientnet-lite0", "1-int8", "int8")
    assert len(loaded.labels) == 1_000
    assert loaded.preprocessing.size == (224, 224)
    assert loaded.model == (copied / "model.onnx").read_bytes()


def test_a_bundle_is_known_by_what_it_serves(copied: Path, bundles: Path) -> None:
    first = digest(copied)
    assert len(first) == 64
    path = copied / bundle.DESCRIPTION_FILE
    path.write_text(f"# A remark.\n{path.read_text()}")
    assert digest(copied) == first
    fp32 = (bundles / "efficientnet-lite0" / "1-fp32" / "model.onnx").read_bytes()
    labels = (copied / "labels.txt").read_bytes().splitlines(keepends=True)
    seen = [first, digest(sealed(copied, model=fp32))]
    seen.append(digest(sealed(copied, labels=b"".join([*labels[1:], labels[0]]))))
    seen.append(digest(edited(copied, 'kind = "logits"', 'kind = "probabilities"')))
    seen.append(digest(edited(copied, "crop_ratio = 0.875", "crop_ratio = 0.5")))
    seen.append(digest(edited(copied, 'version = "1-int8"', 'version = "2-int8"')))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt"])
def test_a_file_altered_in_one_bit_is_not_loaded(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    assert name in refusal(copied)
    assert "SHA-256" in refusal(copied)


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "bundle.toml"])
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    assert name in refusal(copied)
    assert "missing" in refusal(copied)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("schema = 1", "schema = 2", "schema 2"),
        ("schema = 1", "schema = ", "cannot be read"),
        ('name = "efficientnet-lite0"', "name = 7", "name = 7"),
        ('kind = "logits"', 'kind = "labels"', "kind = 'labels'"),
        ("[preprocessing]", "[other]", "preprocessing = None"),
        ("crop_ratio = 0.875", "crop_ratio = 2", "crop_ratio = 2"),
        ('"labels.txt" =', '"other.txt" =', "labels.txt"),
    ],
)
def test_what_the_description_says_wrongly_is_told(copied: Path, old: str, new: str, told: str) -> None:
    assert told in refusal(edited(copied, old, new))


def test_weights_outside_the_graph_would_be_unchecked_and_are_refused(copied: Path) -> None:
    content = with_external_weights().SerializeToString()
    (copied / "model.onnx").write_bytes(content)
    old = next(line for line in (copied / "bundle.toml").read_text().splitlines() if line.startswith('"model.onnx"'))
    edited(copied, old, f'"model.onnx" = "{hashlib.sha256(content).hexdigest()}"')
    assert "another file" in refusal(copied)


def test_a_graph_that_is_none_is_refused_before_any_engine_sees_it(copied: Path) -> None:
    content = b"\x3a\xff\xff"
    (copied / "model.onnx").write_bytes(content)
    old = next(line for line in (copied / "bundle.toml").read_text().splitlines() if line.startswith('"model.onnx"'))
    edited(copied, old, f'"model.onnx" = "{hashlib.sha256(content).hexdigest()}"')
    assert "no ONNX graph" in refusal(copied)


@pytest.mark.parametrize(
    ("active", "named", "precision", "chosen"),
    [
        ("", "", "", "efficientnet-lite0/1-int8"),
        ("", "", "fp32", "efficientnet-lite0/1-fp32"),
        ("efficientnet-lite0/1-int8\n", "", "", "efficientnet-lite0/1-int8"),
        ("efficientnet-lite0/1-fp32\n", "", "", "efficientnet-lite0/1-fp32"),
        ("efficientnet-lite0/1-int8", "", "fp32", "efficientnet-lite0/1-fp32"),
        ("flowers/3", "", "", "flowers/3"),
        ("flowers/3", "", "fp32", "flowers/3"),
        ("flowers/3", "birds/1", "int8", "birds/1"),
    ],
)
def test_what_is_named_goes_before_what_is_active_before_the_default(
    tmp_path: Path, active: str, named: str, precision: str, chosen: str
) -> None:
    if active:
        (tmp_path / bundle.ACTIVE_FILE).write_text(active)
    assert bundle.choose(tmp_path, named, precision) == tmp_path / chosen


@pytest.mark.parametrize("named", ["../outside", "flowers", "/etc/passwd", "a/b/c", "a/..", "./b"])
def test_a_bundle_lies_in_its_folder(tmp_path: Path, named: str) -> None:
    with pytest.raises(BundleError, match="expected <model>/<version>"):
        bundle.choose(tmp_path, named)
