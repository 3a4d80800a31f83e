"""Measure ncnn, MNN and LiteRT on the default network, with OpenVINO and ONNX Runtime: time and scores.

    python -m venv /tmp/engines
    /tmp/engines/bin/pip install numpy opencv-python-headless simplejpeg pillow onnx openvino onnxruntime \
        ncnn pnnx MNN ai-edge-litert litert-torch ai-edge-quantizer
    export PYTHONPATH=model:storage/src:.
    /tmp/engines/bin/python -m benchmarks.own.engines FOLDER [--rounds 5] [--batches 1,2,4,8,16]

FOLDER holds photographs; every other one calibrates what needs it. These engines are no part of the project, hence the
environment of its own (5 GB). Graphs are converted once, into var/bench/engines. Each engine and precision is a process
with one thread; in a round each of them computes one batch size after the other, and the next round begins elsewhere.
Printed is the processor time of the process an image, from pixels (bytes) to scores: the median of the rounds, and the
median ratio to the better of OpenVINO and ONNX Runtime in the same round and precision, each at its best batch size.

MNN's own commands install a package that reports their use over the network; its converter is called directly here.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import settings
from benchmarks.own import engine_graphs as graphs

OURS = ("openvino", "onnxruntime")
OTHERS = ("ncnn", "mnn", "litert")
PRECISIONS = ("int8", "fp32")
Infer = Callable[[Any], Any]


def openvino(precision: str) -> Infer:
    """Image by image, as the service does."""
    return _own("openvino", precision)


def onnxruntime(precision: str) -> Infer:
    """In batches of at most eight, as the service does."""
    return _own("onnxruntime", precision)


def _own(engine: str, precision: str) -> Infer:
    from inference import model  # noqa: PLC0415  each process imports its engine only

    return model.load(settings.BUNDLES / f"1-{precision}", engine, streams=1, cores=1).predict


def ncnn(precision: str) -> Infer:
    """One image at a time: ncnn knows no batches."""
    import ncnn as library  # type: ignore[import-not-found]  # noqa: PLC0415

    net = library.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    # fp32 is fp32: left to itself, it stores and multiplies in 16 bits where the processor can.
    for name in dir(net.opt):
        if name.startswith(("use_fp16", "use_bf16")):
            setattr(net.opt, name, False)
    net.load_param(str(graphs.WORKSPACE / f"ncnn-{precision}.param"))
    net.load_model(str(graphs.WORKSPACE / f"ncnn-{precision}.bin"))

    def one(pixels: Any) -> Any:
        extractor = net.create_extractor()
        image = library.Mat.from_pixels(pixels, library.Mat.PixelType.PIXEL_RGB, *pixels.shape[1::-1])
        image.substract_mean_normalize([127.0] * 3, [1 / 128] * 3)
        extractor.input("in0", image)
        return np.array(extractor.extract("out0")[1])

    return lambda batch: np.stack([one(pixels) for pixels in batch])


def mnn(precision: str) -> Infer:
    """In batches; int8 are the weights, and activations by their range at run time."""
    import MNN  # type: ignore[import-not-found]  # noqa: PLC0415

    told = {"backend": "CPU", "numThread": 1, "precision": "high", "memory": "low" if precision == "int8" else "normal"}
    runtime = MNN.nn.create_runtime_manager((told,))
    path = str(graphs.WORKSPACE / f"mnn-{precision}.mnn")
    module = MNN.nn.load_module_from_file(path, ["image"], ["logits"], runtime_manager=runtime)

    def infer(batch: Any) -> Any:
        image = MNN.expr.convert(MNN.expr.const(graphs.normalised(batch), batch.shape, MNN.expr.NHWC), MNN.expr.NC4HW4)
        return np.array(module.forward([image])[0].read())

    return infer


def litert(precision: str) -> Infer:
    """By XNNPACK, which LiteRT delegates to; batches by resizing the input."""
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]  # noqa: PLC0415

    made: dict[int, Any] = {}

    def interpreter(count: int) -> Any:
        if count not in made:
            made[count] = Interpreter(str(graphs.WORKSPACE / f"litert-{precision}.tflite"), num_threads=1)
            given = made[count].get_input_details()[0]
            made[count].resize_tensor_input(given["index"], [count, *given["shape"][1:]])
            made[count].allocate_tensors()
        return made[count]

    def infer(batch: Any) -> Any:
        ready = interpreter(len(batch))
        given, got = ready.get_input_details()[0], ready.get_output_details()[0]
        values = graphs.normalised(batch)
        if given["dtype"] == np.int8:
            scale, zero = given["quantization"]
            values = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
        ready.set_tensor(given["index"], values)
        ready.invoke()
        scores = ready.get_tensor(got["index"])
        if got["dtype"] == np.int8:
            scale, zero = got["quantization"]
            scores = (scores.astype(np.float32) - zero) * scale
        return scores

    return infer


def serve(engine: str, precision: str) -> None:
    """Obey the lines of stdin: `scores FILE`, or `time BATCH SECONDS`, answered with milliseconds an image."""
    infer = {each.__name__: each for each in (openvino, onnxruntime, ncnn, mnn, litert)}[engine](precision)
    pixels = np.load(graphs.PIXELS)
    say("ready")
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "scores":
            found = np.concatenate([infer(pixels[at : at + 1]) for at in range(len(pixels))])
            np.save(words[0], found if engine in OURS else _softmax(found))
            say("done")
        else:
            say(str(_cpu_ms(infer, pixels, int(words[0]), float(words[1]))))


def _softmax(logits: Any) -> Any:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def _cpu_ms(infer: Infer, pixels: Any, count: int, seconds: float) -> float:
    """Return the processor time of this process an image, over so many seconds of it."""
    infer(pixels[:count])
    begin, images = time.process_time(), 0
    while time.process_time() < begin + seconds:
        at = images % (len(pixels) - count)
        infer(pixels[at : at + count])
        images += count
    return 1000 * (time.process_time() - begin) / images


class Child:
    """An engine in a process of its own."""

    def __init__(self, engine: str, precision: str) -> None:
        self.engine, self.precision = engine, precision
        command = [sys.executable, "-m", "benchmarks.own.engines", "--serve", engine, precision]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
        )
        self.works = self._answer() == "ready"

    def ask(self, line: str) -> str:
        """Send one order and return its answer; "" where the process has ended."""
        assert self._process.stdin is not None  # noqa: S101  for mypy
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None  # noqa: S101  for mypy
        for line in self._process.stdout:  # libraries greet on stdout
            if line.startswith("engines: "):
                return line[len("engines: ") :].strip()
        return ""


def main() -> None:
    """Convert, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", default="1,2,4,8,16")
    parser.add_argument("--seconds", type=float, default=0.3, help="of processor time for each figure")
    options = parser.parse_args()
    batches = [int(each) for each in options.batches.split(",")]
    graphs.prepare(options.folder)
    children = [Child(engine, precision) for precision in PRECISIONS for engine in (*OURS, *OTHERS)]
    for child in [each for each in children if not each.works]:
        print(f"{child.engine} {child.precision}: does not start")
        children.remove(child)
    try:
        _print_answers(children)
        _print_times(children, batches, options)
    finally:
        for child in children:
            child.end()


def _print_answers(children: list[Child]) -> None:
    print("| engine | same label as OpenVINO fp32 | difference of the best score: largest, median |\n|---|---|---|")
    exact: Any = None
    for child in sorted(children, key=lambda each: (each.precision != "fp32", each.engine != "openvino")):
        path = graphs.WORKSPACE / f"scores-{child.engine}-{child.precision}.npy"
        if child.ask(f"scores {path}") != "done":
            print(f"| {child.engine} {child.precision} | fails |")
            children.remove(child)
            continue
        scores = np.load(path)
        exact = scores if exact is None else exact
        best = exact.argmax(axis=1)
        same = int((scores.argmax(axis=1) == best).sum())
        differences = np.abs(np.take_along_axis(scores - exact, best[:, None], axis=1))
        spread = f"{differences.max():.4f}, {np.median(differences):.4f}"
        print(f"| {child.engine} {child.precision} | {same} of {len(best)} | {spread} |")


def _print_times(children: list[Child], batches: list[int], options: argparse.Namespace) -> None:
    taken: dict[tuple[str, str], list[dict[int, float]]] = {}
    for number in range(options.rounds):
        print(f"round {number + 1}", file=sys.stderr)
        at = number % len(children)
        for child in children[at:] + children[:at]:
            answers = {batch: child.ask(f"time {batch} {options.seconds}") for batch in batches}
            row = {batch: float(answer) for batch, answer in answers.items() if answer}
            taken.setdefault((child.engine, child.precision), []).append(row)
    head = " | ".join(f"{batch}" for batch in batches)
    print(f"\n| CPU ms an image by batch size | {head} | of the better of ours |\n|---|{'---|' * len(batches)}---|")
    for (engine, precision), rounds in taken.items():
        columns = [[row[batch] for row in rounds if batch in row] for batch in batches]
        figures = " | ".join(f"{statistics.median(column):.2f}" if column else "" for column in columns)
        ours = zip(*(taken[each, precision] for each in OURS if (each, precision) in taken), strict=True)
        ratios = [
            min(row.values()) / min(min(each.values()) for each in others)
            for row, others in zip(rounds, ours, strict=True)
            if row
        ]
        print(
            f"| {engine} {precision} | {figures} | {statistics.median(ratios):.2f} |" if ratios else f"| {engine} | |"
        )
    print(json.dumps({f"{engine} {precision}": rounds for (engine, precision), rounds in taken.items()}))


def say(answer: str) -> None:
    """Answer an order."""
    print(f"engines: {answer}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
