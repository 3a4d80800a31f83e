"""A compiled form is taken where it was made here, is whole and of the same graph; any other counts as absent."""

import hashlib
import hmac
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference import bundle, compiled, engines
from inference.bundle import Bundle
from tests.hidden_weights import GREY, PLAIN, RAW_DATA, classifier, draft, field, weights


@pytest.fixture
def loaded(bundles: Path, tmp_path: Path) -> Bundle:
    source = bundles / "efficientnet-lite0" / "1-int8"
    skip = shutil.ignore_patterns(compiled.FOLDER)
    return bundle.load(Path(shutil.copytree(source, tmp_path / "bundles" / "net" / "1", ignore=skip)))


def _forms(loaded: Bundle) -> list[Path]:
    assert loaded.folder is not None
    return sorted((loaded.folder / compiled.FOLDER).iterdir())


def _scores(of: Bundle) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    image = np.random.default_rng(0).integers(0, 255, (1, *of.preprocessing.size, 3), np.uint8)
    return engines.load("openvino", of, streams=2, cores=2).predict(image)


def test_a_form_is_kept_and_says_the_same_the_next_time(loaded: Bundle) -> None:
    first = _scores(loaded)
    [form] = _forms(loaded)
    written = form.stat().st_mtime_ns
    assert np.array_equal(_scores(loaded), first)
    assert [path.stat().st_mtime_ns for path in _forms(loaded)] == [written]


def _mapped(folder: Path) -> list[str]:
    """Return what this process has mapped of files without a name in this folder."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if f"{folder / compiled.FOLDER}/#" in line]


def test_a_form_in_use_is_a_file_of_its_own_until_its_engine_ends(loaded: Bundle) -> None:
    """Plain memory for it would be 5 MB more of each worker."""
    assert loaded.folder is not None
    first = _scores(loaded)
    [form] = _forms(loaded)
    engine = engines.load("openvino", loaded, streams=2, cores=2)
    assert len(_mapped(loaded.folder)) == 1
    os.truncate(form, 0)  # as a backup that is restored in place would
    image = np.random.default_rng(0).integers(0, 255, (1, *loaded.preprocessing.size, 3), np.uint8)
    assert np.array_equal(engine.predict(image), first)
    assert np.allclose(engine.predict(image, is_alone=True), first, atol=1e-6)
    del engine
    assert _mapped(loaded.folder) == []


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    folder = tmp_path / "small" / "net" / "1"
    folder.mkdir(parents=True)
    return replace(draft(classifier(weights(PLAIN))), folder=folder)


@pytest.fixture
def other(tmp_path: Path) -> Bundle:
    """Another network, in another installation."""
    folder = tmp_path / "elsewhere" / "net" / "1"
    folder.mkdir(parents=True)
    twice = 2 * np.eye(3, dtype=np.float32)
    return replace(draft(classifier(weights(field(RAW_DATA, twice.tobytes())))), folder=folder)


def _grey(of: Bundle) -> list[list[float]]:
    found: list[list[float]] = engines.load("openvino", of, streams=1, cores=1).predict(GREY).tolist()
    return found


@pytest.mark.parametrize("damage", [b"", b"torn", None])
def test_a_damaged_form_is_made_again(small: Bundle, damage: bytes | None) -> None:
    first = _scores(small)
    [form] = _forms(small)
    whole = form.read_bytes()
    form.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    assert np.array_equal(_scores(small), first)
    assert compiled.kept(small.folder, form.name) is not None


def test_a_form_that_the_engine_refuses_is_made_again(small: Bundle) -> None:
    first = _scores(small)
    [form] = _forms(small)
    compiled.keep(small.folder, form.name, b"of another program")
    assert np.array_equal(_scores(small), first)
    assert compiled.kept(small.folder, form.name) != b"of another program"


@pytest.mark.parametrize("framing", ["its own sum", "a key of its own", "the key of another place"])
def test_a_form_that_came_with_the_bundle_is_not_read(small: Bundle, other: Bundle, framing: str) -> None:
    assert (_grey(small), _grey(other)) == ([[1.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]])
    [own], [foreign] = _forms(small), _forms(other)
    form = compiled.kept(other.folder, foreign.name)
    assert form is not None
    assert other.folder is not None
    if framing == "the key of another place":
        compiled.keep(other.folder, own.name, form)
        own.write_bytes((other.folder / compiled.FOLDER / own.name).read_bytes())
    elif framing == "a key of its own":
        own.write_bytes(hmac.digest(b"", own.name.encode() + b"\0" + hashlib.sha256(form).digest(), "sha256") + form)
    else:
        own.write_bytes(hashlib.sha256(form).digest() + form)
    assert _grey(small) == [[1.0, 1.0, 1.0]]


def test_a_form_is_for_one_name(small: Bundle, other: Bundle) -> None:
    _grey(small)
    [own] = _forms(small)
    _grey(replace(other, folder=small.folder))
    [foreign] = set(_forms(small)) - {own}
    own.write_bytes(foreign.read_bytes())
    assert _grey(small) == [[1.0, 1.0, 1.0]]


@pytest.mark.parametrize("fault", ["readable by others", "a link", "short", "absent"])
def test_a_key_that_others_could_know_is_replaced_and_its_forms_are_made_again(small: Bundle, fault: str) -> None:
    _grey(small)
    [form] = _forms(small)
    assert small.folder is not None
    path = small.folder.parents[1] / compiled.KEY_FILE
    before = path.read_bytes()
    if fault == "readable by others":
        path.chmod(0o640)
    elif fault == "a link":
        path.rename(path.with_name("moved"))
        path.symlink_to("moved")
    elif fault == "short":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert compiled.kept(small.folder, form.name) is None
    assert _grey(small) == [[1.0, 1.0, 1.0]]
    assert compiled.kept(small.folder, form.name) is not None
    assert path.read_bytes() != before
    assert path.lstat().st_mode & 0o777 == 0o600


def test_a_pipe_in_place_of_a_form_holds_nobody_up(small: Bundle) -> None:
    _grey(small)
    [form] = _forms(small)
    form.unlink()
    os.mkfifo(form)
    assert _grey(small) == [[1.0, 1.0, 1.0]]


def test_another_graph_has_a_form_of_its_own(small: Bundle, other: Bundle) -> None:
    first = _scores(small)
    assert not np.array_equal(_scores(replace(other, folder=small.folder)), first)
    assert len(_forms(small)) == 2


def test_a_form_is_for_one_order_of_channels(small: Bundle) -> None:
    first = _scores(small)
    turned = replace(small.preprocessing, channels="BGR")
    assert not np.array_equal(_scores(replace(small, preprocessing=turned)), first)


def test_where_nothing_can_be_kept_the_model_is_served_all_the_same(small: Bundle) -> None:
    assert small.folder is not None
    (small.folder / compiled.FOLDER).write_text("not a folder")
    first = _scores(small)
    assert np.array_equal(_scores(replace(small, folder=None)), first)


def test_names_differ_wherever_the_parts_do() -> None:
    assert len({compiled.key("a", "bc"), compiled.key("ab", "c"), compiled.key("abc"), compiled.key("a", b"bcd")}) == 4


def test_forms_of_all_bundles_are_kept_in_one_folder_where_bundles_cannot_be_written(tmp_path: Path) -> None:
    bundle, cache = tmp_path / "bundles" / "net" / "1", tmp_path / "cache"
    bundle.mkdir(parents=True)
    compiled.keep_in(cache)
    try:
        compiled.keep(bundle, "form", b"a program")
        assert compiled.kept(bundle, "form") == b"a program"
    finally:
        compiled.keep_in(None)
    assert compiled.kept(bundle, "form") is None
    assert sorted(path.name for path in cache.iterdir()) == [".compiled-key", "form"]
    assert list((tmp_path / "bundles").rglob("*form*")) == []
