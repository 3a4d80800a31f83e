"""What others made: pinned by hash, listed, and nothing that runs code hidden in data."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.service import REPOSITORY

LISTS = sorted((REPOSITORY / "requirements").glob("*.txt"))
# What runs; making the default bundle reads a pickle, through an unpickler of its own (model/tests has its tests).
RUNNING = ("api", "model", "wire/src", "storage/src", "deploy/launcher")
SET_UP = REPOSITORY / "model" / "default_model"
# The one place for PyTorch, and what of it takes code from data, or makes code of text.
GPU_ENGINE = {REPOSITORY / "model/inference/engines/torch_engine.py"}
TORCH_UNPICKLERS = {"load", "hub", "jit", "package", "compile", "serialization"}
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "torch", "xmlrpc"}
RUNNERS = {"eval", "exec", "compile", "__import__"}


def pinned(path: Path) -> dict[str, list[str]]:
    """Each package of a list with its hashes."""
    entries = path.read_text().replace("\\\n", " ").splitlines()
    return {entry.split()[0]: re.findall(r"--hash=sha256:([0-9a-f]{64})", entry) for entry in entries if "==" in entry}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for root in RUNNING:
        for file in (REPOSITORY / root).rglob("*.py"):
            if "tests" not in file.parts and SET_UP not in file.parents:
                yield file, ast.parse(file.read_text())


@pytest.mark.parametrize("path", LISTS, ids=[path.stem for path in LISTS])
def test_every_package_is_pinned_with_hashes_and_no_list_names_an_index(path: Path) -> None:
    packages = pinned(path)
    assert packages
    assert [name for name, hashes in packages.items() if not hashes] == []
    assert re.findall(r"https?://|--index|--extra|--find-links|@ ", path.read_text()) == []


@pytest.mark.parametrize("image", ["api", "model"])
def test_images_install_by_hash_alone_and_keep_no_installer(image: str) -> None:
    text = (REPOSITORY / image / "Dockerfile").read_text()
    installs = [line for line in text.replace("\\\n", " ").splitlines() if "pip install" in line]
    assert [line for line in installs if "--require-hashes" not in line and "--no-build-isolation" not in line] == []
    assert "pip uninstall --yes flit_core pip" in text
    assert re.findall(r"^USER (.+)", text, re.MULTILINE)[-1] == "10001:10001"
    assert "useradd --uid 10001 " in text


def test_nothing_that_runs_reads_code_from_data() -> None:
    found: list[tuple[Path, str]] = []
    for file, tree in sources():
        if file in GPU_ENGINE:
            assert not {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & TORCH_UNPICKLERS
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found += [(file, alias.name) for alias in node.names if alias.name.partition(".")[0] in UNPICKLERS]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLERS:
                found.append((file, str(node.module)))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RUNNERS:
                found.append((file, node.func.id))
            elif isinstance(node, ast.keyword) and node.arg == "shell":
                found.append((file, "shell"))
    assert found == []


def test_no_secret_is_a_constant() -> None:
    named = re.compile(r"(secret|password|token|api_?key)s?$", re.IGNORECASE)
    found = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name) and named.search(target.id) and len(node.value.value) > 12
    ]
    assert found == []


def test_there_is_a_bill_of_materials_of_every_list(tmp_path: Path) -> None:
    told = [f"STATE_DIR={tmp_path}", "RUN=echo", "INSTALL=@true"]
    printed = subprocess.run(["make", "sbom", *told], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert re.findall(r" requirements requirements/([\w-]+)\.txt .* -o (\S+)", printed) == [
        (path.stem, f"{tmp_path}/sbom/{path.stem}.cdx.json") for path in LISTS
    ]


@pytest.mark.parametrize("image", ["api", "model", "s3"])
def test_the_bill_of_materials_names_every_package_with_its_hashes(image: str, tmp_path: Path) -> None:
    document = tmp_path / "sbom.json"
    requirements = REPOSITORY / "requirements" / f"{image}.txt"
    command = ["-W", "ignore", "-m", "cyclonedx_py", "requirements", str(requirements), "-o", str(document)]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    bill = json.loads(document.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {
        f"{part['name']}=={part['version']}": [
            digest["content"] for reference in part["externalReferences"] for digest in reference["hashes"]
        ]
        for part in bill["components"]
    }
    assert {name: sorted(hashes) for name, hashes in listed.items()} == {
        name: sorted(hashes) for name, hashes in pinned(requirements).items()
    }


@pytest.mark.parametrize("name", ["api", "model", "deploy/proxy"])
def test_a_dockerfile_has_no_finding_of_hadolint(name: str) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, REPOSITORY / name / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("root", "left_out"), [("api", {"tests"}), ("model", {"tests", "default_model"})])
def test_an_image_has_every_package_of_its_root(root: str, left_out: set[str]) -> None:
    packages = {path.parent.name for path in (REPOSITORY / root).glob("*/*.py")} - left_out
    text = (REPOSITORY / root / "Dockerfile").read_text()
    build = text[text.index("AS build\n") : text.index("AS test\n")]
    assert set(re.findall(rf"^COPY {root}/(\w+) \1$", build, re.MULTILINE)) >= packages


def test_the_image_has_every_module_that_builds_the_default_bundle(tmp_path: Path) -> None:
    """It copies a few files alone, so that a change of any other leaves the bundle's layer as it is."""
    text = (REPOSITORY / "model" / "Dockerfile").read_text().replace("\\\n", " ")
    stage = text[text.index("AS bundle") : text.index("AS packages")]
    for line in re.findall(r"^COPY (model/.*)", stage, re.MULTILINE):
        *sources, target = line.split()
        for source in (REPOSITORY / each for each in sources):
            if source.is_dir():
                shutil.copytree(source, tmp_path / target)
            else:
                (tmp_path / target).mkdir(exist_ok=True)
                shutil.copy(source, tmp_path / target)
    command = [sys.executable, "-m", "cli.build_bundle", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
