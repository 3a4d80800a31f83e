"""OpenVINO on the CPU: pixels go in as bytes, normalisation is part of the compiled graph."""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from io import BytesIO

import numpy as np

from inference import compiled
from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import probabilities
from inference.errors import EngineError

# `import openvino` also imports its model converter: 0.1 s and 8 MB for nothing, and it reports the import over the
# network where openvino-telemetry is installed. It does without when the converter is not to be had.
sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]
import openvino  # noqa: E402
from openvino.frontend import (  # noqa: E402
    FrontEndManager,
    GeneralFailure,
    InitializationFailure,
    NotImplementedFailure,
    OpConversionFailure,
    OpValidationFailure,
)
from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: E402

del sys.modules["openvino.tools.ovc"]

FAILURES = (GeneralFailure, InitializationFailure, NotImplementedFailure, OpConversionFailure, OpValidationFailure)
Options = dict[str, object]
Load = Callable[[Options], openvino.CompiledModel]
# Also where the machine supports half precision: the same image has the same scores everywhere.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
# A pinned thread waits for its core while another core idles: the api and the decoders run on them too.
PINNING = {"ENABLE_CPU_PINNING": False}
# One more with every change of `with_preprocessing`, so that no form compiled before is taken for the present one.
FORM = "openvino form 2"


def load(bundle: Bundle, *, streams: int, cores: int) -> "OpenVinoEngine":
    """Load the graph for one image at a time, which measures no slower than batches; raise EngineError.

    Twice: one thread for each stream, and, at the first image that comes alone, all cores on one image. From a compiled
    form that takes a fifth of the time of compiling, and both read their constants in one copy of it.
    """
    core = openvino.Core()
    streams = min(streams, cores)
    one = _threads(1, 1)
    threads = _threads(streams, streams), _threads(1, cores)
    name = compiled.key(FORM, openvino.__version__, str(one), bundle.preprocessing.digest, bundle.model)
    form = compiled.kept(bundle.folder, name)
    if form is not None:
        with suppress(RuntimeError):  # not usable: compile again
            return OpenVinoEngine(_importer(core, form), threads, bundle.output)
    try:
        graph = core.compile_model(with_preprocessing(read(bundle.model), bundle), "CPU", one)
        is_done = threads == (one, one)  # as a draft is tried: its compiled form would be loaded as it is
        form = b"" if is_done and bundle.folder is None else graph.export_model().getvalue()
        engine = OpenVinoEngine((lambda _: graph) if is_done else _importer(core, form), threads, bundle.output)
    except RuntimeError as fault:
        raise EngineError(f"OpenVINO refuses the model of {bundle.name}/{bundle.version}: {fault}") from fault
    compiled.keep(bundle.folder, name, form)
    return engine


def _importer(core: openvino.Core, form: bytes) -> Load:
    """Return what loads a compiled form with other options; all graphs read their constants in one copy of it."""
    tensor = openvino.Tensor(openvino.Type.u8, [len(form)])
    tensor.data[:] = np.frombuffer(form, np.uint8)
    return lambda options: core.import_model(tensor, "CPU", options)


def _threads(streams: int, threads: int) -> Options:
    return {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads, **PRECISION, **PINNING}


def read(model: bytes) -> openvino.Model:
    """Return the graph of an ONNX file; raise RuntimeError. OpenVINO itself would try any of the formats it knows."""
    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(BytesIO(model)))
    except FAILURES as fault:
        raise RuntimeError(str(fault)) from fault


class OpenVinoEngine:
    """A compiled form with the options for each of several threads, and with those for a lone one."""

    name = "openvino"

    def __init__(self, load: Load, threads: tuple[Options, Options], output: str) -> None:
        self.load, self.threads, self.output = load, threads, output
        self.narrow = _Requests(load(threads[0]))

    @cached_property
    def wide(self) -> "_Requests":
        """Return the graph with all cores on one image, loaded at the first call: that of the warm-up."""
        several, alone = self.threads
        return self.narrow if alone == several else _Requests(self.load(alone))

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Return probabilities for each image of the batch."""
        with (self.wide if is_alone else self.narrow).borrowed() as request:
            outputs = [_infer(request, batch[at : at + 1]) for at in range(len(batch))]
        return probabilities(np.concatenate(outputs), self.output)


class _Requests:
    """As many requests as there were concurrent calls; the graph and its weights are shared."""

    def __init__(self, graph: openvino.CompiledModel) -> None:
        self.graph = graph
        self.idle: deque[openvino.InferRequest] = deque()

    @contextmanager
    def borrowed(self) -> Iterator[openvino.InferRequest]:
        try:
            request = self.idle.pop()
        except IndexError:
            request = self.graph.create_infer_request()
        try:
            yield request
        finally:
            self.idle.append(request)


def _infer(request: openvino.InferRequest, image: Batch) -> Scores:
    request.set_input_tensor(openvino.Tensor(image, shared_memory=True))
    request.infer()
    scores: Scores = request.get_output_tensor(0).data.copy()
    return scores


def with_preprocessing(model: openvino.Model, bundle: Bundle) -> openvino.Model:
    """Return the model with the rest of its preprocessing in front, so that it takes pixels as they are decoded."""
    table = bundle.preprocessing
    height, width = table.size
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC")).set_shape(
        [1, height, width, 3]
    ).set_color_format(ColorFormat.RGB)
    steps.input().model().set_layout(openvino.Layout(table.layout))
    if table.channels == "BGR":
        steps.input().preprocess().convert_color(ColorFormat.BGR)
    steps.input().preprocess().convert_element_type(openvino.Type.f32).mean(list(table.mean)).scale(list(table.std))
    return steps.build()
