"""The documentation is right: every setting is listed, and every link has a target."""

import re
import runpy
from pathlib import Path

import pytest

import sightline
import wire
from sightline_testing import error_table
from sightline_testing.service import REPOSITORY
from sightline_testing.settings_tables import PAGE, PARTS, table

DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *(REPOSITORY / folder / "README.md" for folder in ("benchmarks", "examples", "stress_test")),
    *REPOSITORY.glob("docs/**/*.md"),
]


@pytest.mark.parametrize(("heading", "folder", "module"), PARTS, ids=[heading for heading, _, _ in PARTS])
def test_every_setting_is_documented_as_it_is(heading: str, folder: str, module: str) -> None:
    # `python -m sightline_testing.settings_tables` renews the page.
    assert f"## {heading}\n\n{table(folder, module)}" in PAGE.read_text()


def test_every_error_code_is_documented_with_its_remedy() -> None:
    # `python -m sightline_testing.error_table` renews the page.
    assert error_table.PAGE.read_text().endswith(error_table.HEADING + error_table.table())


def test_the_requests_on_the_page_of_the_api_are_those_of_the_documentation() -> None:
    # Those of the documentation are run.
    source = (REPOSITORY / "api" / "openapi" / "snippets.py").read_text()
    documented = "".join(
        (REPOSITORY / "docs" / name).read_text() for name in ("how-to/call-from-code.md", "getting-started.md")
    )
    requests = re.findall(r'_(?:PYTHON|JAVASCRIPT) = """\\\n(.*?)"""', source, re.DOTALL)
    requests += re.findall(r'Snippet\("curl", "([^"]+)"', source)
    assert len(requests) == 4
    assert [request for request in requests if request not in documented] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(file.relative_to(REPOSITORY)) for file in DOCUMENTS])
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(file.relative_to(REPOSITORY)) for file in DOCUMENTS])
def test_a_link_to_a_module_names_what_is_defined_there(document: Path) -> None:
    links = re.findall(r"\[`([\w.]+)`\]\((\S+\.py)\)", document.read_text())
    assert [
        f"{name} in {link}"
        for name, link in links
        for part in name.split(".")[1 if name.startswith("views.") else 0 :]
        if not re.search(rf"(def|class) {part}\b", (document.parent / link).read_text())
    ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(file.relative_to(REPOSITORY)) for file in DOCUMENTS])
def test_every_make_command_that_is_named_exists(document: Path) -> None:
    commands = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|&& )make ([a-z][a-z-]*)", document.read_text(), re.MULTILINE))
    assert named - commands == set()


def test_the_version_is_the_same_everywhere() -> None:
    latest = re.findall(
        r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE
    )[0]
    assert latest == wire.__version__ == sightline.__version__
    for image in ("api", "model"):
        labels = (REPOSITORY / image / "Dockerfile").read_text()
        assert f'org.opencontainers.image.version="{latest}"' in labels


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


def test_the_check_of_prose_finds_a_hard_sentence_and_a_phrase_that_a_line_break_parts() -> None:
    prose = runpy.run_path(str(REPOSITORY / "docs" / "prose"))
    page = "Choose an image. The page shows its class.\n"
    hard = "Notwithstanding architectural considerations, interoperability necessitates configurability.\n"
    [before] = prose["scores"]({"a.md": page}, "")
    pages = {"a.md": page, "b.md": page + hard, "new.md": hard}
    found = prose["scores"](pages, f"a.md {before.now}\nb.md {before.now}")
    assert [(row.page, row.is_worse) for row in found] == [("a.md", False), ("b.md", True), ("new.md", False)]
    broken = "The answer comes at\nonce.\n\nIt was good at\n\nonce.\n\n> It is\n> worth it.\n```\nat\nonce\n```\n"
    faults = [(1, "Avoid using “at once”, use “immediately” instead"), (8, "Avoid using “is worth”")]
    assert sorted(prose["broken_phrases"](broken)) == faults
