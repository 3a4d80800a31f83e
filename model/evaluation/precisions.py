"""A network before and after: in fp32 and in int8, on pictures that calibration did not see."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

import settings
from evaluation import batch_prediction
from evaluation.comparison import Comparison
from importing import answer_page, trial
from importing.answer_page import Row
from importing.facts import Facts
from inference import cpu
from inference.arrays import Pixels
from inference.bundle import Bundle
from inference.errors import ImageError, ImportRefusedError
from inference.model import Model
from onnx_tools import int8
from onnx_tools.graph import Graph
from training.cases import IMAGE_SUFFIXES
from training.features import Progress

Item = TypeVar("Item")

MOST_CALIBRATION, MOST_COMPARED = 200, 1_000
FEW = 20


@dataclass(frozen=True)
class Plan:
    """Which pictures are measured for calibration, and which the versions are compared on, with their labels."""

    calibration: Sequence[Path]
    compared: Sequence[tuple[Path, str]]
    remark: str


def planned(made: Bundle, calibration: Path | None, shown: Path | None) -> Plan:
    """Every other calibration picture is measured; the labelled ones, else the rest, are what is compared on."""
    found = _spread(_pictures(calibration), 2 * MOST_CALIBRATION) if calibration else []
    measured = found[::2]
    if shown is None:
        rest = [(path, "") for path in found[1::2]]
        remark = "pictures that calibration did not see"
        return Plan(measured, rest or [(path, "") for path in measured], remark if rest else "calibration pictures")
    taken = {path.resolve() for path in measured}
    pictures = [(path, label) for path, label in batch_prediction.labelled_images(shown) if path.resolve() not in taken]
    known = [pair for pair in pictures if pair[1] in made.labels]
    if not known:
        there = sorted({label for _, label in pictures})[:3]
        raise ImportRefusedError(
            f"--labelled {shown} holds no picture of a label of this network (there: {there or 'no picture at all'}); "
            f"a folder for each label is expected in it, named as in --labels: {made.labels[0]!r}, ..."
        )
    return Plan(measured, _spread(known, MOST_COMPARED), f"labelled pictures in {shown.name}")


def quantised(made: Bundle, facts: Facts, plan: Plan, progress: Progress) -> Bundle:
    """The same network in int8, calibrated with the plan's pictures."""
    graph = Graph(made.model)
    int8.check_can_be_quantised(graph, facts.opset, is_quantised=facts.is_quantised)
    tensors = int8.measured_tensors(graph)
    pictures = progress("calibration", len(plan.calibration), _prepared(made, plan.calibration))
    ranges = trial.ranges(made, facts.input.name, tensors, pictures)
    version = made.version.removesuffix(made.precision) + "int8"
    return replace(made, version=version, precision="int8", model=int8.int8_graph(graph, ranges))


def table(made: Sequence[Bundle], first: Model, plan: Plan, progress: Progress) -> Iterator[str]:
    """Size, time, and how often both are right and agree, as lines."""
    after = made[-1]
    batch = first.new_batch(1)
    batch[:] = 127
    engines = [trial.load(each, settings.ENGINE, streams=1, cores=1) for each in made]
    times = [f"{trial.ms_an_image(engine, batch):.1f} ms" for engine in engines]
    compared = _compared(made, plan, progress)
    rows = [
        Row("size", *_two([answer_page.size(len(each.model)) for each in made])),
        Row("time a picture", *_two(times), "on one core"),
        *_figures(compared, len(made)),
    ]
    heads = _two([each.precision for each in made])
    yield from answer_page.table(heads, rows)
    if after.precision == "int8" and len(plan.calibration) < FEW:
        yield f"  Calibrated with {len(plan.calibration)} pictures alone: some hundred make the ranges surer."


def _compared(made: Sequence[Bundle], plan: Plan, progress: Progress) -> Comparison:
    said = []
    for each in made:
        engine = trial.load(each, settings.ENGINE, streams=cpu.cores(), cores=cpu.cores())
        what = f"{len(plan.compared)} {plan.remark}, {each.precision}"
        contents = (path.read_bytes() for path, _ in plan.compared)
        said.append(list(progress(what, len(plan.compared), batch_prediction.predict(Model(each, engine), contents))))
    pairs = batch_prediction.pairs(plan.compared, said[0], said[-1])
    if not pairs:
        raise ImportRefusedError(f"none of {len(plan.compared)} {plan.remark} can be decoded; name another folder")
    return Comparison("", plan.remark, pairs)


def _figures(compared: Comparison, versions: int) -> Iterator[Row]:
    count = len(compared.pairs)
    remark = f"of {count} {compared.remark}"
    if compared.labelled:
        both = compared.figures()
        right = [f"{each.top1 / count:.1%}" for each in both][:versions]
        among = [f"{each.top5 / count:.1%}" for each in both][:versions]
        yield Row("top-1", *_two(right), remark)
        yield Row("top-5", *_two(among))
    if versions > 1:
        yield Row("agreement", "", f"{compared.agreeing / count:.1%}", remark)


def _two(values: Sequence[str]) -> tuple[str, str]:
    return values[0], values[1] if len(values) > 1 else ""


def _prepared(made: Bundle, paths: Sequence[Path]) -> Iterator[Pixels]:
    """What the network looks at in each picture; those that cannot be decoded are left out."""
    model_size, seen = (*made.preprocessing.size, 3), 0
    for path in paths:
        pixels = np.empty(model_size, np.uint8)
        try:
            made.preprocessing.prepare(path.read_bytes(), pixels)
        except ImageError:
            continue
        seen += 1
        yield pixels
    if not seen:
        raise ImportRefusedError(f"none of the {len(paths)} calibration pictures can be decoded; name another folder")


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ImportRefusedError(f"--calibration {folder} holds no picture; a hundred or so usual ones are expected")
    return found


def _spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of them, from all over the list."""
    step = max(len(items) / most, 1.0)
    return [items[int(at * step)] for at in range(int(len(items) / step))]
