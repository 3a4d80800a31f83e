"""OpenVINO on the CPU: pixels go in as bytes, normalisation is part of the compiled graph."""

import itertools
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from io import BytesIO

import numpy as np

from inference import bundle as bundles
from inference import compiled, cpu, memory
from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import choice, probabilities
from inference.errors import BundleError, EngineError

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

log = logging.getLogger(__name__)

FAILURES = (GeneralFailure, InitializationFailure, NotImplementedFailure, OpConversionFailure, OpValidationFailure)
Options = dict[str, object]
Load = Callable[[Options], "_Requests"]
# Also where the machine supports half precision: the same image has the same scores everywhere.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
# A pinned thread waits for its core while another core idles: the api and the decoders run on them too.
PINNING = {"ENABLE_CPU_PINNING": False}
# One more with every change of `with_preprocessing`, so that no form compiled before is taken for the present one.
FORM = "openvino form 2"
# The form for several images takes memory and, once, processor time: only a service that stays busy gains by it.
AFTER_BATCHES = 50
# The thread that loads the form for several images.
BATCHES = "batches"


def load(bundle: Bundle, *, streams: int, cores: int, together: int = 0) -> "OpenVinoEngine":
    """Load the graph for one image at a time; raise EngineError.

    Twice: one thread for each stream, and, at the first image that comes alone, all cores on one image. From a compiled
    form that takes a fifth of the time of compiling, and both read their constants in one copy of it. A third time for
    `together` images, by default as many as suit the processor, once batches have so many.
    """
    core = openvino.Core()
    streams = min(streams, cores)
    one = _threads(1, 1)
    threads = _threads(streams, streams), _threads(1, cores)
    together = together or choice.together(bundle.precision)
    name = compiled.key(FORM, openvino.__version__, str(one), bundle.preprocessing.digest, bundle.model)
    several = _Several(core, bundle, f"{name}-{together}", together, threads[0]) if together > 1 else None
    form = compiled.kept(bundle.folder, name)
    if form is not None:
        with suppress(RuntimeError):  # not usable: compile again
            return OpenVinoEngine(_importer(core, form, bundle), threads, bundle.output, several)
    try:
        graph = _compile(core, bundle, 1)
        is_done = threads == (one, one)  # as a draft is tried: its compiled form would be loaded as it is
        form = b"" if is_done and bundle.folder is None else graph.export_model().getvalue()
        graphs = (lambda _: _Requests(graph)) if is_done else _importer(core, form, bundle)
        engine = OpenVinoEngine(graphs, threads, bundle.output, several)
    except RuntimeError as fault:
        raise EngineError(f"OpenVINO refuses the model of {bundle.name}/{bundle.version}: {fault}") from fault
    compiled.keep(bundle.folder, name, form)
    return engine


def _importer(core: openvino.Core, form: bytes, bundle: Bundle) -> Load:
    """Return what loads a compiled form with other options; all graphs read their constants in one copy of it."""
    mapped = compiled.mapped(bundle.folder, form)
    if mapped is None:
        constants = openvino.Tensor(openvino.Type.u8, [len(form)])
        constants.data[:] = np.frombuffer(form, np.uint8)
    else:
        constants = openvino.Tensor(np.frombuffer(mapped, np.uint8), shared_memory=True)
    return lambda options: _Requests(core.import_model(constants, "CPU", options), constants)


def _threads(streams: int, threads: int) -> Options:
    return {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads, **PRECISION, **PINNING}


def _compile(core: openvino.Core, bundle: Bundle, images: int) -> openvino.CompiledModel:
    """Return the graph compiled for so many images at a time, one thread; raise RuntimeError."""
    graph = with_preprocessing(read(bundle.model), bundle)
    if images > 1:
        graph.reshape([images, *bundle.preprocessing.size, 3])
    return core.compile_model(graph, "CPU", _threads(1, 1))


def read(model: bytes) -> openvino.Model:
    """Return the graph of an ONNX file; raise RuntimeError. OpenVINO itself would try any of the formats it knows."""
    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(BytesIO(model)))
    except FAILURES as fault:
        raise RuntimeError(str(fault)) from fault


class OpenVinoEngine:
    """A compiled form with the options for each of several threads, with those for a lone one, and one for batches."""

    name = "openvino"

    def __init__(
        self, load: Load, threads: tuple[Options, Options], output: str, several: "_Several | None" = None
    ) -> None:
        self.load, self.threads, self.output, self.several = load, threads, output, several
        self.narrow = load(threads[0])

    @cached_property
    def wide(self) -> "_Requests":
        """Return the graph with all cores on one image, loaded at the first call: that of the warm-up."""
        several, alone = self.threads
        return self.narrow if alone == several else self.load(alone)

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Return probabilities for each image of the batch."""
        several, begin, outputs = self.several, 0, []
        if several is not None and len(batch) >= several.count:
            if several.requests is None:
                several.note_batch(self.narrow)
            else:
                begin = len(batch) - len(batch) % several.count
                outputs = several.requests.outputs(batch[:begin], several.count)
        requests = self.wide if is_alone else self.narrow
        return probabilities(np.concatenate(outputs + requests.outputs(batch[begin:])), self.output)


class _Several:
    """The form for `count` images at a time. `requests` is None until it was loaded, which no batch waits for."""

    def __init__(self, core: openvino.Core, bundle: Bundle, name: str, count: int, threads: Options) -> None:
        self.count = count
        self.requests: _Requests | None = None
        self._core, self._name, self._threads = core, name, threads
        self._bundle = replace(bundle, model=b"")
        self._batches = itertools.count(1)

    def note_batch(self, single: "_Requests") -> None:
        """Load the form in a thread where it is time to; `single` computes one image at a time."""
        if next(self._batches) == AFTER_BATCHES:
            threading.Thread(target=self._load, args=(single,), name=BATCHES).start()

    def _load(self, single: "_Requests") -> None:
        cpu.lower_thread_priority(cpu.LOWEST)
        try:
            form = compiled.kept(self._bundle.folder, self._name) or self._compiled()
            if form is None:
                return
            requests = _importer(self._core, form, self._bundle)(self._threads)
            shape = self.count, *self._bundle.preprocessing.size, 3
            example = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            # No answer may depend on what else was in the batch: a graph may be written for one image.
            if np.array_equal(np.concatenate(single.outputs(example)), requests.outputs(example, self.count)[0]):
                self.requests = requests
        except (RuntimeError, BundleError, OSError) as fault:
            log.info("images are computed one by one, not %d together: %s", self.count, fault)
        memory.give_back()

    def _compiled(self) -> bytes | None:
        """Return the form, which is kept for others; None where the version has changed or is gone."""
        folder = self._bundle.folder
        current = None if folder is None else bundles.load(folder)
        if current is None or current.digest != self._bundle.digest:
            return None
        graph = _compile(self._core, replace(self._bundle, model=current.model), self.count)
        form: bytes = graph.export_model().getvalue()
        compiled.keep(folder, self._name, form)
        return form


class _Requests:
    """As many requests as there were concurrent calls; the graph and its weights are shared."""

    def __init__(self, graph: openvino.CompiledModel, constants: openvino.Tensor | None = None) -> None:
        self.graph = graph
        self.idle: deque[openvino.InferRequest] = deque()
        # OpenVINO reads memory that it shares without holding it; the attribute that is set last is freed last.
        self.constants = constants

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

    def outputs(self, batch: Batch, count: int = 1) -> list[Scores]:
        """Return the graph's outputs for each `count` images of the batch."""
        with self.borrowed() as request:
            return [_infer(request, batch[at : at + count]) for at in range(0, len(batch), count)]


def _infer(request: openvino.InferRequest, images: Batch) -> Scores:
    request.set_input_tensor(openvino.Tensor(images, shared_memory=True))
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
