"""A compiled form is taken where it is whole and of the same graph; anything else is as if it were not there."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference import bundle, compiled, engines
from inference.bundle import Bundle


@pytest.fixture
def loaded(bundles: Path, tmp_path: Path) -> Bundle:
    source = bundles / "efficientnet-lite0" / "1-int8"
    skip = shutil.ignore_patterns(compiled.FOLDER)
    return bundle.load(Path(shutil.copytree(source, tmp_path / "bundle", ignore=skip)))


def _forms(loaded: Bundle) -> list[Path]:
    assert loaded.folder is not None
    return sorted((loaded.folder / compiled.FOLDER).iterdir())


def _scores(loaded: Bundle) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    picture = np.random.default_rng(0).integers(0, 255, (1, *loaded.preprocessing.size, 3), np.uint8)
    return engines.load("openvino", loaded, lanes=2, cores=2).predict(picture)


def test_a_form_is_kept_and_says_the_same_the_next_time(loaded: Bundle) -> None:
    first = _scores(loaded)
    [form] = _forms(loaded)
    written = form.stat().st_mtime_ns
    assert np.array_equal(_scores(loaded), first)
    assert [path.stat().st_mtime_ns for path in _forms(loaded)] == [written]


@pytest.mark.parametrize("damage", [b"", b"torn", None])
def test_a_damaged_form_is_made_again(loaded: Bundle, damage: bytes | None) -> None:
    first = _scores(loaded)
    [form] = _forms(loaded)
    whole = form.read_bytes()
    form.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    assert np.array_equal(_scores(loaded), first)
    assert compiled.kept(loaded.folder, form.name) is not None


def test_a_form_that_the_engine_refuses_is_made_again(loaded: Bundle) -> None:
    first = _scores(loaded)
    [form] = _forms(loaded)
    compiled.keep(loaded.folder, form.name, b"of another program")
    assert np.array_equal(_scores(loaded), first)
    assert compiled.kept(loaded.folder, form.name) != b"of another program"


def test_another_graph_has_a_form_of_its_own(loaded: Bundle, bundles: Path) -> None:
    first = _scores(loaded)
    other = bundle.load(bundles / "efficientnet-lite0" / "1-fp32")
    assert not np.array_equal(_scores(replace(other, folder=loaded.folder)), first)
    assert len(_forms(loaded)) == 2


def test_a_form_is_for_one_order_of_channels(loaded: Bundle) -> None:
    first = _scores(loaded)
    turned = replace(loaded.preprocessing, channels="BGR")
    assert not np.array_equal(_scores(replace(loaded, preprocessing=turned)), first)


def test_where_nothing_can_be_kept_the_model_is_served_all_the_same(loaded: Bundle) -> None:
    assert loaded.folder is not None
    (loaded.folder / compiled.FOLDER).write_text("not a folder")
    first = _scores(loaded)
    assert np.array_equal(_scores(replace(loaded, folder=None)), first)


def test_names_differ_wherever_the_parts_do() -> None:
    assert len({compiled.key("a", "bc"), compiled.key("ab", "c"), compiled.key("abc"), compiled.key("a", b"bcd")}) == 4
