"""Quantises an imported network to int8, and compares it with the original on images not used for calibration."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from evaluation import batch_prediction
from evaluation.comparison import Comparison
from importing import trial
from importing.facts import Facts
from inference import cpu, files
from inference.arrays import Pixels
from inference.bundle import Bundle
from inference.errors import ImportRefusedError
from inference.model import Model, Predictions
from onnx_tools import int8
from onnx_tools.graph import Graph
from storage.images.names import SUFFIXES
from training.features import model_input
from training.progress import Progress

MAX_CALIBRATION, MAX_COMPARED = 200, 1_000
FEW = 20
BAR, EIGHTHS = 24, " ▏▎▍▌▋▊▉"
LONGEST_LABEL = 32

Item = TypeVar("Item")


@dataclass(frozen=True)
class Plan:
    """Which images are used for calibration, and which the versions are compared on, with their labels."""

    calibration: Sequence[Path]
    compared: Sequence[tuple[Path, str]]
    remark: str


class Row(NamedTuple):
    """A line of the table with a value for each version."""

    what: str
    values: Sequence[str]
    remark: str = ""


def plan_for(made: Bundle, calibration: Path | None, labelled: Path | None) -> Plan:
    """Use every other image for calibration; compare on the labelled images, else on the rest."""
    found = _spread(_images(calibration), 2 * MAX_CALIBRATION) if calibration else []
    used = found[::2]
    if labelled is None:
        rest = [(path, "") for path in found[1::2]]
        remark = "images that calibration did not see" if rest else "calibration images"
        return Plan(used, rest or [(path, "") for path in used], remark)
    taken = {path.resolve() for path in used}
    found_labelled = batch_prediction.images_of(made, labelled)
    images = [pair for pair in found_labelled if pair[0].resolve() not in taken]
    known = [pair for pair in images if pair[1] in made.labels]
    if not known:
        there = sorted({label for _, label in images})[:3]
        raise ImportRefusedError(
            f"--labelled {labelled} holds no image of a label of this network (there: {there or 'no image at all'}); "
            f"a folder for each label is expected in it, named as in --labels: {made.labels[0]!r}, ..."
        )
    return Plan(used, _spread(known, MAX_COMPARED), f"labelled images in {labelled.name}")


def quantised(made: Bundle, facts: Facts, plan: Plan, progress: Progress) -> Bundle:
    """Return the same network in int8, calibrated with the plan's images."""
    graph = Graph(made.model)
    int8.check_can_be_quantised(graph, facts.opset, is_quantised=facts.is_quantised)
    tensors = int8.measured_tensors(graph)
    images = progress("calibration", len(plan.calibration), prepared(made, plan.calibration))
    ranges = trial.ranges(made, facts.input.name, tensors, images)
    version = made.version.removesuffix(made.precision) + "int8"
    return replace(made, version=version, precision="int8", model=int8.int8_graph(graph, ranges))


def prepared(made: Bundle, paths: Sequence[Path]) -> Iterator[Pixels]:
    """Yield the network's input for each image but those that cannot be decoded; ImportRefusedError where none can."""
    seen = 0
    for path in paths:
        pixels = model_input(made.preprocessing, path.read_bytes())
        if pixels is not None:
            seen += 1
            yield pixels
    if not seen:
        raise ImportRefusedError(f"none of the {len(paths)} calibration images can be decoded; name another folder")


def table(made: Sequence[Bundle], plan: Plan, engine: str, progress: Progress) -> Iterator[str]:
    """Yield the lines of a table with size, time, accuracy and agreement of the versions."""
    batch = np.full((1, *made[0].preprocessing.size, 3), 127, np.uint8)
    engines = [trial.load(each, engine, streams=1, cores=1) for each in made]
    rows = [
        Row("", [each.precision for each in made]),
        Row("size", [size(len(each.model)) for each in made]),
        Row("time an image", [f"{trial.latency_ms(each, batch):.1f} ms" for each in engines], "on one core"),
        *_figures(_compared(made, plan, engine, progress), len(made)),
    ]
    first = max(len(row.what) for row in rows)
    widths = [max(map(len, column)) for column in zip(*(row.values for row in rows), strict=True)]
    for row in rows:
        values = "  ".join(f"{value:>{width}}" for value, width in zip(row.values, widths, strict=True))
        yield f"  {row.what:{first}}  {values}  {row.remark}".rstrip()
    if made[-1].precision == "int8" and len(plan.calibration) < FEW:
        yield f"  Calibrated with only {len(plan.calibration)} images: some hundred give more reliable ranges."


def _compared(made: Sequence[Bundle], plan: Plan, engine: str, progress: Progress) -> Comparison:
    predicted = []
    for each in made:
        loaded = trial.load(each, engine, streams=cpu.cores(), cores=cpu.cores())
        contents = (path.read_bytes() for path, _ in plan.compared)
        what = f"{len(plan.compared)} {plan.remark}, {each.precision}"
        predictions = batch_prediction.predict(Model(each, loaded), contents)
        predicted.append(list(progress(what, len(plan.compared), predictions)))
    pairs = batch_prediction.pairs(plan.compared, predicted[0], predicted[-1])
    if not pairs:
        raise ImportRefusedError(f"none of {len(plan.compared)} {plan.remark} can be decoded; name another folder")
    return Comparison("", plan.remark, pairs)


def _figures(compared: Comparison, versions: int) -> Iterator[Row]:
    count = len(compared.pairs)
    remark = f"of {count} {compared.remark}"
    if compared.labelled:
        figures = compared.figures()[:versions]
        yield Row("top-1", [f"{each.top1.share:.1%}" for each in figures], remark)
        yield Row("top-5", [f"{each.top5.share:.1%}" for each in figures])
    if versions > 1:
        yield Row("agreement", ["", f"{compared.agreeing / count:.1%}"], remark)


def answer(predictions: Predictions) -> Iterator[str]:
    """Yield a line for each class: its probability as a bar and in per cent."""
    width = min(LONGEST_LABEL, max(len(label) for label, _ in predictions))
    for label, score in predictions:
        yield f"  {label[:width]:{width}}  {bar(score):{BAR}}  {score:6.1%}"


def bar(share: float) -> str:
    """Return a share of 0 to 1 as blocks, exact to an eighth of one."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def size(count: int) -> str:
    """Return a number of bytes in MB or kB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _images(folder: Path) -> list[Path]:
    found = sorted(path for path in files.below(folder) if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ImportRefusedError(f"--calibration {folder} holds no image; a hundred or so usual ones are expected")
    return found


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most so many of them, from all over the list."""
    step = max(len(items) / most, 1.0)
    return [items[int(at * step)] for at in range(int(len(items) / step))]
