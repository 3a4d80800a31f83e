"""The rules of the house, read from the syntax trees: who may import whom, and what may stand where.

docs/architecture.md gives the reasons.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from docs.site import rooms

from sightline_testing.imports import ROOTS, cycles, module_graph, room_graph, syntax_tree
from sightline_testing.service import REPOSITORY

PLACES = (
    "api/Dockerfile",
    "api/app.py",
    "api/middleware.py",
    "api/views.py",
    "api/settings.py",
    "api/utils.py",
    "api/templates/index.html",
    "api/tests/test_api.py",
    "api/tests/test_utils.py",
    "model/Dockerfile",
    "model/ml_service.py",
    "model/settings.py",
    "model/tests/test_model.py",
    "stress_test/locustfile.py",
    "tests/test_integration.py",
    "docker-compose.yml",
    "README.md",
)
# folder (or file), and what nothing in it may import
FORBIDDEN_IMPORTS = (
    (
        "api",
        {
            "inference",
            "onnx_tools",
            "training",
            "evaluation",
            "registry",
            "serving",
            "importing",
            "default_model",
            "ml_service",
            "numpy",
            "cv2",
            "openvino",
            "onnxruntime",
            "onnx",
        },
    ),
    ("model", {"flask", "werkzeug", "gunicorn", "gevent", "app", "views", "middleware"}),
    ("wire/src", {"flask", "werkzeug", "numpy", "settings", "inference", "openvino", "onnxruntime"}),
    ("storage/src", {"flask", "werkzeug", "numpy", "settings", "inference", "openvino", "onnxruntime", "problems"}),
    ("model/inference", {"wire", "redis", "hiredis", "settings", "training", "serving", "onnx_tools"}),
    ("model/serving", {"onnx", "onnx_tools", "training", "evaluation", "importing", "default_model"}),
    ("model/onnx_tools", {"wire", "settings", "training", "evaluation", "registry", "importing", "default_model"}),
    ("model/training", {"redis", "hiredis", "settings"}),
    ("model/importing", {"wire", "redis", "hiredis", "settings", "onnxruntime"}),
    ("model/serving/batching.py", {"wire", "redis", "hiredis"}),
    ("client/src", {"wire", "redis", "flask", "numpy", "settings", "inference"}),
    ("deploy/launcher", {"redis", "hiredis", "flask", "numpy"}),
    ("deploy/doctor", {"wire", "redis", "hiredis", "flask", "numpy", "onnx", "tqdm"}),
)
ROOTS_WITH_A_SETTINGS_MODULE = ("api", "model", "deploy/launcher")
# The names of the Python client of Redis and of its protocol; only wire/ uses it.
REDIS_CLIENTS = {"redis", "hiredis"}
CONTRACT_MODULES = {"api": ("app", "settings", "utils", "views", "middleware"), "model": ("settings", "ml_service")}

# Run in a fresh interpreter: any socket that is opened while the module is imported ends it.
IMPORT_ALONE = """
import importlib, sys
module, *heavy = sys.argv[1:]
def refuse(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.fork"):
        sys.exit(f"{event} {arguments}")
sys.addaudithook(refuse)
importlib.import_module(module)
if loaded := set(sys.modules) & set(heavy):
    sys.exit(f"imports {sorted(loaded)}")
"""
HEAVY_MODULES = ("openvino", "onnxruntime", "onnx", "torch", "opentelemetry", "obstore")


def sources(folder: str) -> Iterator[Path]:
    """Yield the Python files of a folder (or the one file), without its tests."""
    place = REPOSITORY / folder
    files = [place] if place.suffix == ".py" else sorted(place.rglob("*.py"))
    assert files, f"{folder} holds no Python file"
    for file in files:
        if "tests" not in file.relative_to(REPOSITORY).parts:
            yield file


@cache
def imported(file: Path) -> tuple[tuple[str, int], ...]:
    """Return the first name of each import of a file, with its line."""
    return tuple(_imported(file))


def _imported(file: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(syntax_tree(file)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module.partition(".")[0], node.lineno


def at(file: Path, line: int) -> str:
    return f"{file.relative_to(REPOSITORY)}:{line}"


@pytest.mark.parametrize("place", PLACES)
def test_the_contracts_places_are_taken(place: str) -> None:
    assert (REPOSITORY / place).is_file()


@pytest.mark.parametrize(("folder", "forbidden"), FORBIDDEN_IMPORTS, ids=[folder for folder, _ in FORBIDDEN_IMPORTS])
def test_no_arrow_points_the_wrong_way(folder: str, forbidden: set[str]) -> None:
    assert [
        f"{at(file, line)} imports {name}"
        for file in sources(folder)
        for name, line in imported(file)
        if name in forbidden
    ] == []


def test_the_environment_is_read_in_a_settings_module_alone() -> None:
    assert [
        f"{at(file, line)} reads the environment"
        for root in ROOTS_WITH_A_SETTINGS_MODULE
        for file in (*sources(root), *sources("wire/src"), *sources("storage/src"))
        if file.name != "settings.py"
        for line in reads_of_the_environment(file)
    ] == []


def reads_of_the_environment(file: Path) -> Iterator[int]:
    """Yield the lines with os.environ, os.getenv, or either of them imported by name."""
    names = {"environ", "environb", "getenv"}
    for node in ast.walk(syntax_tree(file)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            if node.attr in names:
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "os" and names & {alias.name for alias in node.names}:
            yield node.lineno


def test_redis_is_spoken_to_in_wire_alone() -> None:
    assert [
        f"{at(file, line)} imports {name}"
        for root in ("api", "model", "deploy")
        for file in sources(root)
        for name, line in imported(file)
        if name in REDIS_CLIENTS
    ] == []


def test_nobody_outside_wire_names_a_redis_key() -> None:
    key = re.compile(r"\{[^}]*\}:(jobs|replies|dead|workers|labels)")
    assert [
        at(file, node.lineno)
        for root in ("api", "model")
        for file in sources(root)
        for node in ast.walk(syntax_tree(file))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and key.search(node.value)
    ] == []


@pytest.mark.parametrize(("root", "most"), [("api", 9), ("model", 6), ("wire", 13), ("storage", 4)])
def test_a_root_holds_packages_and_few_modules(root: str, most: int) -> None:
    folder = REPOSITORY / ROOTS[root][0]
    assert len(list(folder.glob("*.py"))) <= most
    packages = [file.parent for file in folder.glob("*/__init__.py") if file.parent.name != "tests"]
    assert [package.name for package in packages if not ast.get_docstring(syntax_tree(package / "__init__.py"))] == []


@pytest.mark.parametrize("root", ROOTS)
def test_no_module_and_no_package_is_in_a_cycle(root: str) -> None:
    assert cycles(module_graph(root)) == []
    assert cycles(room_graph(root)) == []


def test_the_diagram_of_the_packages_is_that_of_the_code() -> None:
    assert rooms.arrows_in(rooms.DIAGRAM) == rooms.arrows(), "make architecture draws it again"


def test_an_http_status_is_chosen_in_the_api_alone() -> None:
    assert [
        f"{at(file, line)} imports {name}"
        for root in ("model", "wire/src", "storage/src")
        for file in sources(root)
        for name, line in imported(file)
        if name == "http"
    ] == []


@pytest.mark.parametrize("root", ["api", "model"])
def test_the_two_roots_shadow_no_module_of_the_standard_library(root: str) -> None:
    assert {file.stem for file in (REPOSITORY / root).glob("*.py")} & sys.stdlib_module_names == set()


@pytest.mark.parametrize(
    ("root", "module"), [(root, name) for root, names in CONTRACT_MODULES.items() for name in names]
)
def test_importing_a_module_of_the_contract_opens_nothing_and_loads_no_engine(root: str, module: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", IMPORT_ALONE, module, *HEAVY_MODULES],
        cwd=REPOSITORY / root,
        env={"PYTHONPATH": ".", "REDIS_IP": "127.0.0.1", "REDIS_PORT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def test_a_module_has_at_most_400_lines() -> None:
    roots = ("api", "model", "wire", "storage", "testing", "deploy", "stress_test", "benchmarks")
    assert {at(file, count) for root in roots for file in sources(root) if (count := lines(file)) > 400} == set()


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def test_a_prediction_passes_at_most_fifteen_modules_and_eighty_functions() -> None:
    """A `POST /predict` that no cache answers, in its own thread."""
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks.own.prediction_path", "--list"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "api:."},
        capture_output=True,
        text=True,
        check=False,
    )
    numbers = re.match(r"(\d+) modules, (\d+) functions", finished.stdout)
    assert numbers is not None, finished.stderr
    assert int(numbers[1]) <= 15, finished.stdout
    assert int(numbers[2]) <= 80, finished.stdout
