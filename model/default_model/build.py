"""Makes the bundles that are missing; complete ones stay, new ones appear atomically."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic

from default_model.recipe import (
    DESCRIPTION_FILE,
    FEATURE_BANK_FILE,
    LABELS_FILE,
    MODEL_FILE,
    Precision,
    Recipe,
    label_bytes,
)
from default_model.variants import LITE0, Variant
from inference import files
from inference.errors import BuildError

ACTIVE_FILE = "active"

Report = Callable[[str], None]


def build(bundles: Path, precisions: Iterable[Precision], report: Report, chosen: Variant | None = None) -> None:
    """Make each bundle of a model that is not there or not whole; without an active one, the first becomes it.

    A model that was chosen is served from now on, also where a version of another one was active; without a choice, the
    bundles are those of Lite0.
    """
    recipes = [Recipe(precision, chosen or LITE0) for precision in precisions]
    _make_missing(bundles, recipes, report)
    if chosen is not None:
        _switch(bundles, recipes[0], report)


def _make_missing(bundles: Path, recipes: list[Recipe], report: Report) -> None:
    broken = [recipe for recipe in recipes if not is_whole(bundles, recipe)]
    for recipe in recipes:
        if recipe not in broken:
            report(f"The bundle {recipe.identity} is there and whole.")
    if not broken and (bundles / ACTIVE_FILE).exists():
        return  # without a lock: the folder may be read-only
    with files.alone_in(bundles):
        # Another set-up may have made them while this one waited.
        broken = [recipe for recipe in broken if not is_whole(bundles, recipe)]
        if broken:
            _make(bundles, broken, report)
        if not (bundles / ACTIVE_FILE).exists():
            _activate(bundles, recipes[0])


def is_whole(bundles: Path, recipe: Recipe) -> bool:
    """Return whether the bundle is there, as this version of the project makes it, down to the last byte."""
    folder = bundles / recipe.identity
    try:
        described = (folder / DESCRIPTION_FILE).read_text(encoding="utf-8")
        return described == recipe.description() and not _wrong_files(folder, recipe)
    except (OSError, UnicodeDecodeError):
        return False


def put(bundles: Path, recipe: Recipe, contents: Mapping[str, bytes]) -> None:
    """Write the bundle next to its place, check it there, and rename it into place."""
    target = bundles / recipe.identity
    target.parent.mkdir(parents=True, exist_ok=True)
    # Of a set-up that was killed; no one else is writing, because this one holds the lock.
    for leftover in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(leftover)
    fresh = files.beside(target)
    fresh.mkdir()
    try:
        for name, content in contents.items():
            files.write(fresh / name, content)
        if wrong := _wrong_files(fresh, recipe):
            raise BuildError(f"{recipe.identity} did not come out as it must: {'; '.join(wrong)}")
        _replace(target, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _make(bundles: Path, recipes: list[Recipe], report: Report) -> None:
    # Not at the top: onnx takes longer to import than all the rest of a set-up that finds its bundles whole.
    from default_model.checkpoint import load_checkpoint  # noqa: PLC0415
    from default_model.golden import can_check, check_outputs  # noqa: PLC0415
    from default_model.graphs import graph_file  # noqa: PLC0415
    from default_model.network import fold  # noqa: PLC0415

    started = monotonic()
    variant = recipes[0].variant
    report(f"Reading the published weights of {variant.title} ...")
    network = fold(load_checkpoint(variant), variant)
    for recipe in recipes:
        report(f"Making the bundle {recipe.identity} ...")
        model = graph_file(network, recipe.precision)
        if can_check():
            check_outputs(model, recipe)
        files = {
            MODEL_FILE: model,
            LABELS_FILE: label_bytes(),
            DESCRIPTION_FILE: recipe.description().encode(),
        }
        if recipe.feature_bank:
            files[FEATURE_BANK_FILE] = recipe.feature_bank.read_bytes()
        put(bundles, recipe, files)
    report(f"Made {len(recipes)} in {monotonic() - started:.1f} s: {bundles}")


def _wrong_files(folder: Path, recipe: Recipe) -> list[str]:
    """Return a line for each file whose SHA-256 is not the recipe's."""
    expected = recipe.files()
    found = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in expected}
    wrong = [name for name in expected if found[name] != expected[name]]
    return [f"{name} has SHA-256 {found[name]}, expected {expected[name]}" for name in wrong]


def _replace(target: Path, fresh: Path) -> None:
    # A folder cannot be renamed over a folder that is not empty: the old one is moved first.
    old = files.beside(target)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _switch(bundles: Path, recipe: Recipe, report: Report) -> None:
    if (bundles / ACTIVE_FILE).read_bytes().startswith(f"{recipe.variant.name}/".encode()):
        return
    # Not at the top: the image that only makes bundles has nothing to switch from, and lacks this package.
    from registry import activation  # noqa: PLC0415

    report(f"Now served: {activation.switch(bundles, recipe.identity)}")


def _activate(bundles: Path, recipe: Recipe) -> None:
    files.replace(bundles / ACTIVE_FILE, f"{recipe.identity}\n".encode())
