"""What corrections could do for photographs under a change of domain: docs/decisions/0009-last-layer.md has results.

    PYTHONPATH=.:model OPENBLAS_NUM_THREADS=1 .venv/bin/python -m benchmarks.own.domain_correction [--draws 3]

The labelled photographs of IMAGENET_DIR, changed in several ways, through the default network in fp32. One half of them
is known: the wrong answers among these are reported with their labels, and feature means and normalisation statistics
are measured on all of them, before and after the change. The other half, which shows other classes, is judged.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from benchmarks import settings
from benchmarks.own.feedback_loop import DOMAINS as STRANGE
from inference import bundle
from inference.arrays import Classes, Doubles, Flags, Floats, Pixels
from onnx_tools.head import Head, read_head
from sightline_testing.photographs import labelled
from training import feature_bank
from training.features import FeatureExtractor, model_input
from training.fitting import Cases, minimise
from training.train import TrainingSet, softmax, train

BUNDLE = settings.ROOT / "var" / "bundles" / "efficientnet-lite0" / "1-fp32"
RANKS, HELD, RIDGE = (1, 8), 300, 1e-3
STATISTICS_IMAGES, LEAST_DEVIATION = 30, 1e-3
SHRINKAGE, LEAST_SPREAD = 0.3, 0.05
MIDDLE, SPREAD = 120, 60  # of the brightness of photographs


def _night(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(31).normal(0, 6, pixels.shape)
    dark = 255 * (pixels / 255) ** 1.6 * np.array([0.18, 0.2, 0.28]) + noise
    return np.asarray(np.clip(dark, 0, 255), np.uint8)


def _paper(pixels: Pixels) -> Pixels:
    """A print: pale, yellow, on white, with a shadow from one side."""
    small = cv2.resize(pixels, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    height, width = pixels.shape[:2]
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    page = np.full(pixels.shape, 255.0)
    page[top : top + small.shape[0], left : left + small.shape[1]] = 70 + 0.6 * np.asarray(small)
    shade = np.linspace(0.65, 1, width)[None, :, None]
    return np.asarray(np.clip(page * shade * np.array([1, 0.97, 0.85]), 0, 255), np.uint8)


def _blurred(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 3.5), np.uint8)


DOMAINS: Mapping[str, Callable[[Pixels], Pixels]] = {**STRANGE, "night": _night, "paper": _paper, "blurred": _blurred}


@dataclass(frozen=True)
class Half:
    """One split of the photographs in a domain."""

    domain: Floats  # features of all photographs after the change
    clean: Floats  # and before it
    classes: Classes
    known: Flags


class Lab:
    """The network, its last layer, and features that its answers are held to."""

    def __init__(self) -> None:
        loaded, bank = bundle.load(BUNDLE), feature_bank.read(BUNDLE)
        if bank is None:
            raise SystemExit(f"{BUNDLE} has no feature bank: make install")
        self.loaded, self.bank, self.base = loaded, bank, read_head(loaded.model)
        self.extractor = FeatureExtractor(loaded, "openvino", 1)
        contents = [each.path.read_bytes() for each in labelled()]
        self.photographs = [
            pixels for each in contents if (pixels := model_input(loaded.preprocessing, each)) is not None
        ]
        self.classes = np.array([loaded.labels.index(each.label) for each in labelled()])
        self.clean = self.features(self.photographs)

    def features(self, images: list[Pixels]) -> Floats:
        """Return a row for each image."""
        return np.concatenate(list(self.extractor.of_pixels(images)))

    def right(self, features: Floats, classes: Classes, head: Head | None = None) -> int:
        """Return how many of these get their class."""
        return int(((head or self.base).logits(features).argmax(axis=1) == classes).sum())


Change = Callable[[Floats], Floats]


def corrections(lab: Lab, half: Half) -> Iterator[tuple[str, Change, Head | None]]:
    """Yield each correction of features, fitted on the known half, and the last layer after it, if that changes."""
    yield "as it is", lambda rows: rows, None
    wrong = half.known & (lab.base.logits(half.domain).argmax(axis=1) != half.classes)
    reported, classes = half.domain[wrong], half.classes[wrong]
    cases = Cases(reported, classes, np.arange(len(classes)))
    none = np.empty((0, reported.shape[1]), np.float32)
    yield "last layer", lambda rows: rows, train(cases, TrainingSet(lab.base, lab.bank.features, none)).head
    seen, usual = half.domain[half.known], half.clean[half.known]
    means = seen.mean(axis=0), usual.mean(axis=0)
    yield "mean", lambda rows: rows - means[0] + means[1], None
    scale = (usual.std(axis=0) + LEAST_SPREAD) / (seen.std(axis=0) + LEAST_SPREAD)
    yield "mean, deviation", lambda rows: (rows - means[0]) * scale + means[1], None
    turn = (_root(usual, 0.5, lab) @ _root(seen, -0.5, lab)).T
    yield "covariance", lambda rows: (rows - means[0]) @ turn + means[1], None
    for rank in RANKS:
        yield f"rank {rank}", low_rank(lab, reported, classes, rank), None


def _root(features: Floats, power: float, lab: Lab) -> Floats:
    """Return a power of the covariance, shrunk to that of the bank."""
    covariance = (1 - SHRINKAGE) * np.cov(features.T) + SHRINKAGE * np.cov(lab.bank.features.T)
    values, vectors = np.linalg.eigh(
        covariance + 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    )
    root: Floats = (vectors * values**power @ vectors.T).astype(np.float32)
    return root


def low_rank(lab: Lab, reported: Floats, classes: Classes, rank: int) -> Change:
    """Return x + (x U) V + b, by which reported images get their class and those of the bank keep their answers."""
    held = lab.bank.features[:: max(1, len(lab.bank.features) // HELD)]
    features = np.concatenate([reported, held])
    targets = softmax(lab.base.logits(features))
    targets[: len(classes)] = 0
    targets[np.arange(len(classes)), classes] = 1
    weights = np.r_[np.full(len(classes), 1 / len(classes)), np.full(len(held), 1 / len(held))][:, None]
    width, draw = features.shape[1], np.random.default_rng(1)
    start = np.concatenate([draw.normal(0, width**-0.5, width * rank), np.zeros(width * rank + width)])

    def parts(flat: Doubles) -> tuple[Floats, Floats, Floats]:
        down, up, bias = np.split(flat.astype(np.float32), [width * rank, 2 * width * rank])
        return down.reshape(width, rank), up.reshape(rank, width), bias

    def loss(flat: Doubles) -> tuple[float, Doubles]:
        down, up, bias = parts(flat)
        inner = features @ down
        found = softmax(lab.base.logits(features + inner @ up + bias))
        value = -float((weights * targets * np.log(found + 1e-12)).sum()) + RIDGE / 2 * float(flat @ flat)
        errors = ((found - targets) * weights) @ lab.base.weights
        gradient = np.concatenate(
            [(features.T @ (errors @ up.T)).reshape(-1), (inner.T @ errors).reshape(-1), errors.sum(axis=0)]
        )
        return value, gradient.astype(np.float64) + RIDGE * flat

    down, up, bias = parts(minimise(loss, start))

    def change(rows: Floats) -> Floats:
        changed: Floats = np.asarray(rows + (rows @ down) @ up + bias, np.float32)
        return changed

    return change


def renormalised(lab: Lab, clean: list[Pixels], domain: list[Pixels]) -> Callable[[list[Pixels]], Floats]:
    """Return the network in which each convolution's outputs have, in the domain, the statistics of clean images.

    One layer after the other, as each changes what the next ones get; returns logits.
    """
    graph = onnx.load_from_string(lab.loaded.model)
    constants = {each.name: each for each in graph.graph.initializer}
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    wanted = [_statistics(lab, graph, node.output[0], clean) for node in convolutions]
    for node, (mean, deviation) in zip(convolutions, wanted, strict=True):
        seen_mean, seen_deviation = _statistics(lab, graph, node.output[0], domain)
        scale = (deviation + LEAST_DEVIATION) / (seen_deviation + LEAST_DEVIATION)
        weights, biases = (numpy_helper.to_array(constants[name]) for name in node.input[1:3])
        changed = weights * scale[:, None, None, None], (biases - seen_mean) * scale + mean
        for name, value in zip(node.input[1:3], changed, strict=True):
            constants[name].CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))
    output = graph.graph.output[0].name
    return lambda images: np.concatenate([_run(lab, graph, output, [each]) for each in images])


def _statistics(lab: Lab, graph: onnx.ModelProto, name: str, images: list[Pixels]) -> tuple[Floats, Floats]:
    values = _run(lab, graph, name, images)
    return values.mean(axis=(0, 2, 3)), values.std(axis=(0, 2, 3))


def _run(lab: Lab, graph: onnx.ModelProto, name: str, images: list[Pixels]) -> Floats:
    """Return one tensor for these images."""
    needed = onnx.ModelProto()
    needed.CopyFrom(graph)
    del needed.graph.node[1 + next(at for at, node in enumerate(graph.graph.node) if name in node.output) :]
    del needed.graph.output[:]
    needed.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # each part of the graph lacks nodes for some constants
    session = onnxruntime.InferenceSession(needed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    table = lab.loaded.preprocessing
    batch = (np.stack(images).astype(np.float32) - np.array(table.mean, np.float32)) / np.array(table.std, np.float32)
    rows = [session.run([name], {"image": np.ascontiguousarray(each.transpose(2, 0, 1)[None])})[0] for each in batch]
    return np.concatenate(rows)


def _upright(lab: Lab, images: list[Pixels]) -> Floats:
    """Return the features of that of four rotations of which the network is surest."""
    turned = [[np.ascontiguousarray(np.rot90(each, turns)) for each in images] for turns in range(4)]
    rows = np.stack([lab.features(each) for each in turned])
    surest = np.stack([softmax(lab.base.logits(each)).max(axis=1) for each in rows]).argmax(axis=0)
    found: Floats = rows[surest, np.arange(len(images))]
    return found


def _exposed(lab: Lab, images: list[Pixels]) -> Floats:
    """Return the features of the images in the mean and the deviation of brightness that photographs have."""
    made = [
        np.clip((each - each.mean()) * (SPREAD / max(each.std(), 1)) + MIDDLE, 0, 255).astype(np.uint8)
        for each in images
    ]
    return lab.features(made)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Print a line for each domain and correction."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", choices=DOMAINS, nargs="+", default=list(DOMAINS))
    options = parser.parse_args()
    lab = Lab()
    every = len(lab.classes)
    for name, correct in (("upright", _upright), ("exposed", _exposed)):
        _say(f"{name}: {lab.right(correct(lab, lab.photographs), lab.classes)} of {every} as they are")
    for domain in options.only:
        images = [np.ascontiguousarray(DOMAINS[domain](each)) for each in lab.photographs]
        features, begin = lab.features(images), time.process_time()
        for name, correct in (("upright", _upright), ("exposed", _exposed)):
            _say(
                f"{domain}, {name}: {lab.right(features, lab.classes)} as they are, "
                f"{lab.right(correct(lab, images), lab.classes)} corrected"
            )
        counts: dict[str, list[tuple[int, int]]] = {}
        for draw in range(options.draws):
            known = np.isin(np.arange(every), np.random.default_rng((33, draw)).permutation(every)[: every // 2])
            half = Half(features, lab.clean, lab.classes, known)
            for name, change, head in corrections(lab, half):
                judged = lab.right(change(features[~known]), lab.classes[~known], head)
                counts.setdefault(name, []).append((judged, lab.right(change(lab.clean), lab.classes, head)))
            if draw == 0:
                some = np.flatnonzero(known)[:STATISTICS_IMAGES]
                logits = renormalised(lab, [lab.photographs[at] for at in some], [images[at] for at in some])
                judged, kept = (
                    int((logits([each[at] for at in places]).argmax(axis=1) == lab.classes[places]).sum())
                    for each, places in ((images, np.flatnonzero(~known)), (lab.photographs, np.arange(every)))
                )
                counts["statistics of each layer"] = [(judged, kept)]
        for name, pairs in counts.items():
            _say(
                f"{domain}, {name}: judged half {[found for found, _ in pairs]} of {every // 2}, "
                f"clean {[kept for _, kept in pairs]}"
            )
        _say(f"({time.process_time() - begin:.0f} s of processor time)")


if __name__ == "__main__":
    main()
