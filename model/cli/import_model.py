"""Make a bundle of a network of your own: `cli.models import my.onnx --labels labels.txt --preset torchvision`.

The graph is checked, tried on an image in the engine that will serve it, and written as a bundle, all at once.
--quantize makes a version in int8 beside it, and compares both.
"""

import argparse
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2

import ml_service
import settings
from cli import command
from importing import description, facts, precisions, trial
from importing.facts import Facts
from inference import bundle, cpu, preprocessing
from inference.bundle import Bundle
from inference.errors import ImageError, ImportRefusedError
from inference.model import Model
from registry import versions
from training.augmentation import synthetic_images

TOP_K = 5
PRESETS = tuple(description.presets())


class Imported(NamedTuple):
    """A network as a bundle, the facts of its graph, and the table [preprocessing] of bundle.toml."""

    bundle: Bundle
    facts: Facts
    table: dict[str, Any]


def run(options: argparse.Namespace) -> int:
    """Check, try, show and write a network; raise ImportRefusedError where it is refused."""
    bundles = ml_service.bundles_folder()
    if options.quantize and not options.calibration:
        raise ImportRefusedError("--quantize needs --calibration FOLDER, with a hundred or so usual images")
    found = _imported(options, bundles)
    command.say(f"{options.graph}: {found.facts.input} -> {len(found.bundle.labels)} classes ({found.bundle.output})")
    _try(found.bundle, options.image)
    made = [found.bundle]
    if options.quantize or options.labelled:
        plan = precisions.plan_for(found.bundle, options.calibration, options.labelled)
        command.say("")
        if options.quantize:
            made.append(precisions.quantised(found.bundle, found.facts, plan, command.progress))
        command.say(*precisions.table(made, plan, settings.ENGINE, command.progress))
    command.say("")
    for each in made:
        identity = _write(bundles, found.table, each)
        command.say(f"Wrote {identity} ({precisions.size(len(each.model))}) to {bundles / identity}")
    command.say(f"  to serve it now:   sightline models promote {identity} --force")
    command.say(f"  at the next start: make serve MODEL_BUNDLE={identity}")
    return 0


def _imported(options: argparse.Namespace, bundles: Path) -> Imported:
    content = options.graph.read_bytes()
    found = facts.read(content)
    if isinstance(found.batch, int) and found.batch > 1:
        content = facts.with_open_batch(content)
    labels = description.read_labels(options.labels)
    if found.classes is not None:
        description.check_label_count(labels, options.labels, found.classes)
    table = description.preprocessing_table(found, options.preset, {key: getattr(options, key) for key in OVERRIDES})
    name = options.name or _name_of(options.graph)
    precision = "int8" if found.is_quantised else "fp32"
    version = _version(options, bundles, name, precision)
    known = preprocessing.from_table(table)
    draft = Bundle(name, version, precision, known, description.PROBABILITIES, labels, content)
    return Imported(replace(draft, output=_kind(draft, options)), found, table)


def _kind(draft: Bundle, options: argparse.Namespace) -> str:
    """Return what the network's outputs are, by its raw numbers."""
    numbers = trial.raw_outputs(draft, settings.ENGINE, cores=cpu.cores())
    description.check_outputs(numbers)
    description.check_label_count(draft.labels, options.labels, numbers.shape[1])
    kind = description.output_kind(numbers, options.kind)
    for warning in [] if options.kind else description.warnings(numbers, kind):
        command.say(f"Mind: {warning}")
    return kind


def _try(made: Bundle, image: Path | None) -> None:
    """Print what the network predicts for an image, by default a synthetic one larger than its input."""
    engine = trial.load(made, settings.ENGINE, streams=1, cores=1)
    model = Model(made, engine)
    pixels = model.new_batch(1)
    height, width = made.preprocessing.size
    try:
        model.prepare(image.read_bytes() if image else _png(2 * height + 1, 2 * width + 1), pixels[0])
    except ImageError as fault:
        raise ImportRefusedError(f"--image {image}: {fault}; name another, or leave it out") from None
    predictions = model.top_k(model.predict(pixels)[0], TOP_K)
    took_ms = trial.latency_ms(engine, pixels)
    command.say(
        "", f"{image or 'a synthetic image'}, in {took_ms:.1f} ms on one core:", *precisions.answer(predictions)
    )


def _png(height: int, width: int) -> bytes:
    [pixels] = synthetic_images(1, height, width)
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def _write(bundles: Path, table: dict[str, Any], made: Bundle) -> str:
    """Write the bundle, read it back as a worker will, and return its <name>/<version>."""
    described = {"schema": bundle.SCHEMA, "name": made.name, "version": made.version, "precision": made.precision}
    described |= {"preprocessing": table, "output": {"kind": made.output}}
    folder = versions.write(bundles, described, made.model, made.labels, {})
    bundle.load(folder)
    return versions.identity(folder)


def _version(options: argparse.Namespace, bundles: Path, name: str, precision: str) -> str:
    """Return the version of the options, else the first number that no version of this network has."""
    precisions = ["fp32", "int8"] if options.quantize else [precision]
    number = 1
    while not options.version and any((bundles / name / f"{number}-{each}").exists() for each in precisions):
        number += 1
    version = f"{options.version or number}-{precision}"
    for each in precisions:
        versions.free_place(bundles, name, f"{options.version or number}-{each}")
    return version


def _name_of(graph: Path) -> str:
    return re.sub("[^A-Za-z0-9._-]+", "-", graph.stem).strip("-.") or "network"


def _sides(text: str) -> list[int]:
    """Return height and width from 224 or 97x131."""
    found = re.fullmatch(r"(\d+)(?:[x,](\d+))?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give 224, or HEIGHTxWIDTH such as 97x131")
    return [int(found[1]), int(found[2] or found[1])]


def _three(text: str) -> list[float]:
    """Return a number for each channel from 127.5 or 103.9,116.8,123.7."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a number nor three with commas, in the order of --channels"
        )
    return numbers * (3 // len(numbers))


# The keys of [preprocessing] that may differ from the preset.
OVERRIDES: dict[str, dict[str, Any]] = {
    "size": {"type": _sides, "metavar": "HxW", "help": "of the input, where the graph leaves it open"},
    "resize": {"choices": preprocessing.CHOICES["resize"]},
    "crop_ratio": {"type": float, "metavar": "RATIO", "help": "of the shorter side, for center-crop"},
    "interpolation": {"choices": preprocessing.CHOICES["interpolation"]},
    "channels": {"choices": preprocessing.CHOICES["channels"]},
    "mean": {"type": _three, "metavar": "M,M,M", "help": "of pixels from 0 to 255: (x - mean) / std"},
    "std": {"type": _three, "metavar": "S,S,S"},
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add = parser.add_argument
    add("graph", type=Path, metavar="FILE", help="an ONNX graph with its weights inside")
    add("--labels", type=Path, required=True, metavar="FILE", help="one a line, in order of the outputs")
    add("--preset", choices=PRESETS, required=True, help="the preprocessing of the network's family")
    add("--name", default="", help="of the network (default: that of the file)")
    add("--version", default="", metavar="NAME", help="is followed by -fp32 or -int8 (default: a number)")
    what = "to predict (default: a synthetic one)"
    command.add_renamed(parser, "--image", "--picture", Path, metavar="FILE", help=what)
    add("--labelled", type=Path, metavar="FOLDER", help="a folder of images for each label, to measure the accuracy")
    add("--quantize", action="store_true", help="make a version in int8, too; needs --calibration")
    add("--calibration", type=Path, metavar="FOLDER", help="of a hundred or so usual images")
    changes = parser.add_argument_group("to differ from the preset")
    for key, told in OVERRIDES.items():
        changes.add_argument(f"--{key.replace('_', '-')}", **told)
    changes.add_argument("--kind", default="", choices=bundle.OUTPUTS, help="of the outputs (default: as they look)")
