"""Make a bundle of a network of your own: `cli.models import my.onnx --labels labels.txt --preset torchvision`.

The graph is checked, tried on an image in the engine that will serve it, and written as a bundle in one step.
--quantize also makes a version in int8, and compares both.
"""

import argparse
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import cv2

import settings
from cli import command
from importing import adaptation, configurations, description, facts, labels, precisions, trial
from importing.facts import Facts
from inference import bundle, preprocessing
from inference.bundle import Bundle
from inference.engines import Engine, probabilities
from inference.errors import ImageError, ImportRefusedError
from inference.model import Model
from inference.preprocessing import Preprocessing
from registry import versions
from training.augmentation import synthetic_images

TOP_K = 5
PRECISIONS = ("fp32", "int8")
PRESETS = tuple(description.presets())


class Imported(NamedTuple):
    """A network as a bundle, the facts of its graph, the table [preprocessing] of bundle.toml, and its raw outputs."""

    bundle: Bundle
    facts: Facts
    table: dict[str, Any]
    engine: Engine  # from trial.load_raw()


def run(options: argparse.Namespace) -> int:
    """Import a network and print what to do with it; return the exit status."""
    identity = import_network(options)[-1]
    command.say(f"  to serve it now:   sightline models promote {identity} --force")
    command.say(f"  at the next start: make serve MODEL_BUNDLE={identity}")
    return 0


def import_network(options: argparse.Namespace) -> list[str]:
    """Check, try, show and write a network; return its versions, and raise ImportRefusedError where it is refused."""
    bundles = settings.bundles_folder()
    if options.quantize and not options.calibration:
        raise ImportRefusedError("--quantize needs --calibration FOLDER, with a hundred or so usual images")
    found = _imported(options, bundles)
    _try(found, options.image)
    made = [found.bundle]
    if options.quantize or options.labelled:
        plan = precisions.plan_for(found.bundle, options.calibration, options.labelled)
        command.say("")
        if options.quantize:
            made.append(precisions.quantised(found.bundle, found.facts, plan, command.progress))
        command.say(*precisions.table(made, plan, settings.ENGINE, command.progress))
    command.say("")
    written = [_write(bundles, found.table, each) for each in made]
    for identity, each in zip(written, made, strict=True):
        command.say(f"Wrote {identity} ({precisions.size(len(each.model))}) to {bundles / identity}")
    return written


def _imported(options: argparse.Namespace, bundles: Path) -> Imported:
    original = options.graph.read_bytes()
    found = facts.read(original, options.output, options.layout)
    source, base = _preprocessing(options, found)
    path = options.labels or _labels_beside(options.graph)
    named = labels.read(path)
    if found.classes is not None:
        labels.check_count(named.labels, path, found.classes)
    table = description.preprocessing_table(found, base, {key: getattr(options, key) for key in OVERRIDES})
    content = adaptation.adapted(original, found)
    name = options.name or name_of(options.graph)
    precision = "int8" if found.is_quantised else "fp32"
    version = _version(options, bundles, name, precision)
    known = preprocessing.from_table(table)
    draft = Bundle(name, version, precision, known, description.PROBABILITIES, named.labels, content)
    engine = trial.load_raw(draft, settings.ENGINE)
    numbers = trial.raw_outputs(engine, known.size)
    description.check_outputs(numbers)
    labels.check_count(named.labels, path, numbers.shape[1])
    kind = description.output_kind(numbers, options.kind)
    command.say(f"{options.graph}: {found.input} -> {len(named.labels)} classes ({kind})", f"{source}: {_shown(known)}")
    remarks = [*found.remarks, *description.repeated_normalisation(found, known), *named.remarks]
    remarks += [] if options.kind else description.warnings(numbers, kind)
    command.say(*(f"Mind: {remark}" for remark in remarks))
    return Imported(replace(draft, output=kind), facts.read(content, layout=found.layout), table, engine)


def _preprocessing(options: argparse.Namespace, found: Facts) -> tuple[str, dict[str, Any]]:
    """Return the table [preprocessing] that the options stand for, and where it comes from."""
    if options.preset:
        return f"--preset {options.preset}", description.presets()[options.preset]
    beside = configurations.near(options.graph)
    path = options.config or next(
        (each for each in beside if configurations.has_preprocessing(configurations.read(each))), None
    )
    if path is None:
        raise ImportRefusedError(
            f"how images are prepared is not known: pass --preset ({', '.join(PRESETS)}), or --config with timm's "
            f"config.json or Hugging Face's preprocessor_config.json, which is read automatically where it is next to "
            f"{options.graph.name}"
        )
    return str(path), configurations.table(path, description.fixed_size(found))


def _labels_beside(graph: Path) -> Path:
    """Return the configuration next to a graph that has labels in it."""
    found = next((path for path in configurations.near(graph) if labels.in_configuration(path)), None)
    if found is None:
        raise ImportRefusedError(
            f"--labels FILE is missing, and there is no config.json with id2label next to {graph.name}; pass a file "
            "with a label for each output: one a line, CSV, or JSON"
        )
    return found


def _shown(known: Preprocessing) -> str:
    """Return what becomes of an image, in a line."""
    height, width = known.size
    part = "all of it" if known.resize == "stretch" else f"{known.resize} {known.crop_ratio:.4g}"
    normalised = f"(x - {list(known.mean)}) / {list(known.std)}"
    return f"{part}, {known.interpolation} to {height}x{width}, {known.channels}, {normalised}"


def _try(found: Imported, image: Path | None) -> None:
    """Print what the network predicts for an image, by default a synthetic one larger than its input."""
    made, engine = found.bundle, found.engine
    model = Model(made, engine)
    pixels = model.new_batch(1)
    height, width = made.preprocessing.size
    try:
        model.prepare(image.read_bytes() if image else _png(2 * height + 1, 2 * width + 1), pixels[0])
    except ImageError as fault:
        raise ImportRefusedError(f"--image {image}: {fault}; name another, or leave it out") from None
    predictions = model.top_k(probabilities(engine.predict(pixels), made.output)[0], TOP_K)
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
    described |= {versions.IMPORTED_AT: datetime.now(UTC).isoformat(timespec="seconds")}
    described |= {"preprocessing": table, "output": {"kind": made.output}}
    folder = versions.write(bundles, described, made.model, made.labels, {})
    bundle.load(folder)
    return versions.identity(folder)


def _version(options: argparse.Namespace, bundles: Path, name: str, precision: str) -> str:
    """Return the version of the options, else of the first number that no version of this network has."""
    precisions = PRECISIONS if options.quantize else (precision,)
    number = options.new_version or str(free_number(bundles, name, precisions))
    for each in precisions:
        versions.free_place(bundles, name, f"{number}-{each}")
    return f"{number}-{precision}"


def free_number(bundles: Path, name: str, precisions: Sequence[str] = PRECISIONS) -> int:
    """Return the first number that no version of a network has in these precisions."""
    taken = (
        any((bundles / name / f"{number}-{each}").exists() for each in precisions) for number in itertools.count(1)
    )
    return next(number for number, is_taken in enumerate(taken, 1) if not is_taken)


def name_of(graph: Path) -> str:
    """Return the name of the file, or of its folder where exporters call each file model.onnx."""
    given = graph.stem
    if given.lower() == "model":
        folder = graph.absolute().parent
        given = (folder.parent if folder.name == "onnx" else folder).name
    return re.sub("[^A-Za-z0-9._-]+", "-", given).strip("-.") or "network"


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
    add(
        "--labels", type=Path, metavar="FILE", help="one a line, CSV or JSON (default: a config.json next to the graph)"
    )
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--preset", choices=PRESETS, help="the preprocessing of the network's family")
    what = "of timm or Hugging Face with the preprocessing (default: one next to the graph)"
    either.add_argument("--config", type=Path, metavar="FILE", help=what)
    add("--name", default="", help="of the network (default: that of the file, or of the folder of a model.onnx)")
    command.add_new_version(parser, "is followed by -fp32 or -int8 (default: a number)")
    what = "to predict (default: a synthetic one)"
    command.add_renamed(parser, "--image", "--picture", Path, metavar="FILE", help=what)
    add("--labelled", type=Path, metavar="FOLDER", help="a folder of images for each label, to measure the accuracy")
    add("--quantize", action="store_true", help="make a version in int8, too; needs --calibration")
    add("--calibration", type=Path, metavar="FOLDER", help="of a hundred or so usual images")
    changes = parser.add_argument_group("to differ from the preset")
    for key, told in OVERRIDES.items():
        changes.add_argument(f"--{key.replace('_', '-')}", **told)
    changes.add_argument("--layout", default="", choices=preprocessing.CHOICES["layout"], help="of the input")
    changes.add_argument("--output", default="", metavar="NAME", help="the tensor with the scores, of several")
    changes.add_argument("--kind", default="", choices=bundle.OUTPUTS, help="of the outputs (default: as they look)")
