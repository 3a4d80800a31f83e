import hashlib
import os
import shutil
import socket
from pathlib import Path

import pytest

from evaluation import batch_prediction
from inference import bundle
from inference.errors import BundleError
from tests.bundle_copies import copied as own_copy
from tests.bundle_copies import sealed
from tests.hidden_weights import PLAIN, classifier, weights
from tests.inference.test_onnx_file import with_external_weights


@pytest.fixture
def copied(bundles: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles / "efficientnet-lite0" / "1-int8", tmp_path / "1-int8"))


@pytest.fixture
def tiny(bundles: Path, tmp_path: Path) -> Path:
    """The default bundle around a network of a few bytes."""
    folder = tmp_path / "1-int8"
    folder.mkdir()
    for name in ("bundle.toml", "labels.txt"):
        shutil.copyfile(bundles / "efficientnet-lite0" / "1-int8" / name, folder / name)
    return sealed(folder, model=classifier(weights(PLAIN)))


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


HUGE = "9" * 5_000


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("schema = 1", "schema = true", "schema True"),
        ("schema = 1", "schema = 1.0", "schema 1.0"),
        ("schema = 1", f"schema = {HUGE}", "cannot be read"),
        ("schema = 1", f"schema = 1\nmore = {'[' * 20_000}", "cannot be read"),
        ("schema = 1", f"schema = 1\nmore = '{'x' * 70_000}'", "at most 65536 are read"),
        *(
            (f'{key} = "{value}"', f"{key} = {name}", f"{key} = ")
            for key, value in (("name", "efficientnet-lite0"), ("version", "1-int8"), ("precision", "int8"))
            for name in ('""', "7", "true", "[]", '"a b"', '"a/b"', '".a"', '"a\\nb"', '"a\\u0000"', '"größe"')
        ),
        ('name = "efficientnet-lite0"', f'name = "{"n" * 20_000}"', "name = 'nnn"),
        ('version = "1-int8"', f'version = "{"1" * 65}"', "version = '111"),
        ('precision = "int8"', f'precision = "{"p" * 65}"', "precision = 'ppp"),
        ("size = [224, 224]", "size = [224.0, 224.0]", "size = [224.0, 224.0]"),
        ("size = [224, 224]", "size = [true, true]", "size = [True, True]"),
        ("size = [224, 224]", "size = [224]", "size = [224]"),
        ("size = [224, 224]", "size = [0, 224]", "size = [0, 224]"),
        ("size = [224, 224]", "size = [-1, 224]", "size = [-1, 224]"),
        ("size = [224, 224]", "size = [2049, 224]", "size = [2049, 224]"),
        ("size = [224, 224]", f"size = [1{'0' * 400}, 224]", "size = [1000"),
        ("size = [224, 224]", 'size = "224"', "size = '224'"),
        ("size = [224, 224]", "size = [nan, inf]", "size = [nan, inf]"),
        ("crop_ratio = 0.875", "crop_ratio = true", "crop_ratio = True"),
        ("crop_ratio = 0.875", "crop_ratio = nan", "crop_ratio = nan"),
        ("crop_ratio = 0.875", "crop_ratio = 0.0", "crop_ratio = 0.0"),
        ("crop_ratio = 0.875", "crop_ratio = 1e-300", "crop_ratio = 1e-300"),
        ("crop_ratio = 0.875", f"crop_ratio = 1{'0' * 400}", "crop_ratio = 1000"),
        ("mean = [", f"mean = [1{'0' * 400}, 0, 0] #", "mean = [1000"),
        ("mean = [", "mean = [nan, 0, 0] #", "mean = [nan"),
        ("mean = [", "mean = [-inf, 0, 0] #", "mean = [-inf"),
        ("mean = [", "mean = [0, 0] #", "mean = [0, 0]"),
        ("std = [", "std = [1e-320, 1, 1] #", "std = [1e-320"),
        ("std = [", "std = [0, 1, 1] #", "std = [0, 1, 1]"),
        ("std = [", "std = [false, 1, 1] #", "std = [False"),
        ('channels = "RGB"', 'channels = ["RGB"]', "channels = ['RGB']"),
    ],
)
def test_a_value_that_would_fail_later_is_refused_in_a_short_sentence(
    tiny: Path, old: str, new: str, told: str
) -> None:
    said = refusal(edited(tiny, old, new))
    assert told in said
    assert len(said) < 500


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a\n" + b"b" * 501 + b"\n", "line 2 has 501 characters"),
        (b"".join(b"%d\n" % number for number in range(65_537)), "65537 labels"),
        (b"a" * (4 * 1024**2 + 1), "at most 4194304 are read"),
    ],
)
def test_labels_beyond_any_measure_are_refused(tiny: Path, content: bytes, told: str) -> None:
    assert told in refusal(sealed(tiny, labels=content))


def as_folder(path: Path) -> None:
    path.mkdir()


def as_loop(path: Path) -> None:
    path.symlink_to(path.name)


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def with_gigabytes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(5 * 1024**3)


UNREADABLE = {
    "a folder": (as_folder, "regular file"),
    "a loop of links": (as_loop, "Too many levels of symbolic links"),
    "a pipe": (as_pipe, "regular file"),
    "a socket": (as_socket, "cannot be read"),
    "gigabytes": (with_gigabytes, "at most"),
}


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "bundle.toml"])
@pytest.mark.parametrize("fault", UNREADABLE)
def test_a_file_that_is_none_is_refused_at_once(tiny: Path, name: str, fault: str) -> None:
    make, told = UNREADABLE[fault]
    (tiny / name).unlink()
    make(tiny / name)
    assert told in refusal(tiny)


@pytest.mark.parametrize("fault", UNREADABLE)
def test_what_cannot_be_read_as_the_active_version_is_told(tmp_path: Path, fault: str) -> None:
    make, told = UNREADABLE[fault]
    make(tmp_path / "active")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BundleError, match=told):
        bundle.choose(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xfem\x00", "is not UTF-8"),
        (b"m/\x001", "expected <model>/<version>"),
        (b"m/1\nm/2\n", "expected <model>/<version>"),
        (b"m/1 0.5", "expected <model>/<version>"),
        (b"m/" + b"1" * 65, "expected <model>/<version>"),
        ("m/größe".encode(), "expected <model>/<version>"),
        (b"m\\1", "expected <model>/<version>"),
        (b"m/1" * 1_000, "at most 1024 are read"),
        (b"", "is empty"),
        (b" \r\n", "is empty"),
    ],
)
def test_an_active_file_that_names_no_version_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "active").write_bytes(content)
    with pytest.raises(BundleError, match=told) as refused:
        bundle.choose(tmp_path)
    assert "active" in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("content", [b"m/1", b"m/1\n", b"m/1\r\n", b"\xef\xbb\xbfm/1\r\n", b"  m/1\t\n\n"])
def test_what_editors_add_to_the_active_file_does_not_matter(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "active").write_bytes(content)
    assert bundle.choose(tmp_path) == tmp_path / "m" / "1"


def test_a_bundle_that_calls_itself_otherwise_than_its_folder_is_not_served(bundles: Path, tmp_path: Path) -> None:
    own = own_copy(bundles, tmp_path / "efficientnet-lite0" / "2-int8")
    with pytest.raises(BundleError, match=r"is of efficientnet-lite0/1-int8; set .* efficientnet-lite0/2-int8"):
        batch_prediction.load(own)
    edited(own, 'version = "1-int8"', 'version = "2-int8"')
    bundle.check_place(bundle.load(own))


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
    assert "no plain ONNX file" in refusal(copied)


@pytest.mark.parametrize(
    ("active", "named", "precision", "chosen"),
    [
        ("", "", "", "efficientnet-lite0/1-int8"),
        ("", "", "fp32", "efficientnet-lite0/1-fp32"),
        ("efficientnet-lite0/1-int8\n", "", "", "efficientnet-lite0/1-int8"),
        ("efficientnet-lite0/1-fp32\n", "", "", "efficientnet-lite0/1-fp32"),
        ("efficientnet-lite0/1-int8", "", "fp32", "efficientnet-lite0/1-fp32"),
        ("efficientnet-lite2/1-int8", "", "fp32", "efficientnet-lite2/1-fp32"),
        ("efficientnet-lite2/1-fp32", "", "int8", "efficientnet-lite2/1-int8"),
        ("efficientnet-lite2/2-int8", "", "fp32", "efficientnet-lite2/2-int8"),
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


def test_each_line_is_a_label() -> None:
    assert bundle.parse_labels("tench\ncarpenter's_kit\nπ\n".encode()) == ("tench", "carpenter's_kit", "π")


@pytest.mark.parametrize("content", [b"", b"\n", b"a\n\nb\n", b"a\nb\na\n", b"a\n  \n", b"\xff\xfe\n"])
def test_labels_that_cannot_be_told_apart_are_refused(content: bytes) -> None:
    with pytest.raises(BundleError):
        bundle.parse_labels(content)
