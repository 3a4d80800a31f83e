"""Makes the bundles that are missing."""

from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic

from default_model.folder import activate, alone_in, is_active_set, is_whole, put
from default_model.recipe import DESCRIPTION_FILE, LABELS_FILE, MODEL_FILE, Precision, Recipe, labels

Say = Callable[[str], None]


def build(bundles: Path, precisions: Iterable[Precision], say: Say) -> None:
    """Make each bundle that is not there or not whole; without an active one, the first becomes it."""
    recipes = [Recipe(precision) for precision in precisions]
    broken = [recipe for recipe in recipes if not is_whole(bundles, recipe)]
    for recipe in recipes:
        if recipe not in broken:
            say(f"The bundle {recipe.identity} is there and whole.")
    if not broken and is_active_set(bundles):
        return  # without a lock: the folder may be read-only
    with alone_in(bundles):
        # Another set-up may have made them while this one waited.
        broken = [recipe for recipe in broken if not is_whole(bundles, recipe)]
        if broken:
            _make(bundles, broken, say)
        if not is_active_set(bundles):
            activate(bundles, recipes[0])


def _make(bundles: Path, recipes: list[Recipe], say: Say) -> None:
    # Not at the top: onnx takes longer to import than all the rest of a set-up that finds its bundles whole.
    from default_model.checkpoint import load_checkpoint  # noqa: PLC0415
    from default_model.folding import fold  # noqa: PLC0415
    from default_model.golden_outputs import can_check, check_outputs  # noqa: PLC0415
    from default_model.graphs import graph_file  # noqa: PLC0415

    started = monotonic()
    say("Reading the published weights of EfficientNet-Lite0 ...")
    network = fold(load_checkpoint())
    for recipe in recipes:
        say(f"Making the bundle {recipe.identity} ...")
        model = graph_file(network, recipe.precision)
        if can_check():
            check_outputs(model, recipe.precision)
        description = recipe.description().encode()
        put(bundles, recipe, {MODEL_FILE: model, LABELS_FILE: label_bytes(), DESCRIPTION_FILE: description})
    say(f"Made {len(recipes)} in {monotonic() - started:.1f} s: {bundles}")


def label_bytes() -> bytes:
    """Return labels.txt: one label a line, in the order of the model's output."""
    return "".join(f"{label}\n" for label in labels()).encode()
