"""What the documentation says is so: every setting is listed, every example runs, every link leads somewhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.pictures import good
from sightline_testing.service import REPOSITORY, Service, some_service
from sightline_testing.settings_tables import PAGE, PARTS, table

README = REPOSITORY / "README.md"
PAGES = [README, REPOSITORY / "docs" / "api.md", REPOSITORY / "docs" / "client.md"]
DOCUMENTS = [README, REPOSITORY / "CONTRIBUTING.md", REPOSITORY / "CHANGELOG.md", *REPOSITORY.glob("docs/**/*.md")]
ADDRESS = "http://127.0.0.1:8000"
HOST = ADDRESS.removeprefix("http://")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with some_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the examples expect it: with a picture named cat.jpg."""
    (tmp_path / "cat.jpg").write_bytes(good("baseline.jpg").content)
    return tmp_path


def examples(language: str) -> list[str]:
    """Return the code blocks in a language that speak to the service, of the README and of the pages on asking."""
    text = "\n".join(page.read_text() for page in PAGES)
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in blocks if HOST in block]


def test_the_readme_shows_how_to_ask_with_curl_and_with_python() -> None:
    assert len(examples("sh")) >= 1
    assert len(examples("python")) >= 1


@pytest.mark.parametrize("example", examples("sh"))
def test_a_shell_example_of_the_readme_does_what_it_says(service: Service, folder: Path, example: str) -> None:
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("curl is not installed")
        pytest.skip("curl is not installed")
    output = run(["sh", "-ec", example.replace("curl ", "curl --fail ").replace(ADDRESS, service.url)], folder)
    assert '"success": true' in output or '"status": "pending"' in output


@pytest.mark.parametrize("example", examples("python"))
def test_a_python_example_of_the_readme_does_what_it_says(service: Service, folder: Path, example: str) -> None:
    output = run([sys.executable, "-c", example.replace(ADDRESS, service.url).replace(HOST, service.url[7:])], folder)
    assert re.fullmatch(r"\S+ 0\.\d+", output.strip())


def run(command: list[str], folder: Path) -> str:
    finished = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize(("heading", "folder", "module"), PARTS, ids=[heading for heading, _, _ in PARTS])
def test_every_setting_is_documented_as_it_is(heading: str, folder: str, module: str) -> None:
    # `python -m sightline_testing.settings_tables` renews the page.
    assert f"## {heading}\n\n{table(folder, module)}" in PAGE.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(file.relative_to(REPOSITORY)) for file in DOCUMENTS])
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(file.relative_to(REPOSITORY)) for file in DOCUMENTS])
def test_every_make_command_that_is_named_exists(document: Path) -> None:
    commands = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|&& )make ([a-z][a-z-]*)", document.read_text(), re.MULTILINE))
    assert named - commands == set()


def test_requirements_are_pinned_with_hashes_and_name_no_address() -> None:
    for file in REPOSITORY.glob("requirements/*.txt"):
        text = file.read_text()
        assert "://" not in text, file
        for requirement in re.split(r"\n(?=\S)", text.strip()):
            assert "==" in requirement, (file, requirement)
            assert "--hash=sha256:" in requirement, (file, requirement)


def test_all_requirements_agree_on_every_version() -> None:
    pinned: dict[str, set[str]] = {}
    for file in REPOSITORY.glob("requirements/*.txt"):
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", file.read_text(), re.MULTILINE):
            pinned.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in pinned.items() if len(versions) > 1} == {}
    assert "openvino-telemetry" not in pinned
    with_torch = [file.name for file in REPOSITORY.glob("requirements/*.txt") if "\ntorch==" in file.read_text()]
    assert with_torch == ["torch.txt"], "only the GPU image needs PyTorch"
