"""ONNX Runtime on the CPU, in batches: runs any ONNX graph (see docs/decisions/0003-engine.md)."""

import numpy as np
import onnxruntime

from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import probabilities
from inference.errors import EngineError

# Images in one call: more are no faster, and take more memory.
MAX_TOGETHER = 8


def load(bundle: Bundle, *, streams: int, cores: int) -> "OnnxRuntimeEngine":
    """Load the graph twice: a thread for each call, and all cores for a lone image; raise EngineError."""
    try:
        narrow = _session(bundle.model, 1)
        wide = _session(bundle.model, cores) if cores > 1 else narrow
    except Exception as fault:  # its errors have no class in common but this
        raise EngineError(f"ONNX Runtime refuses the model of {bundle.name}/{bundle.version}: {fault}") from fault
    return OnnxRuntimeEngine(narrow, wide, bundle)


class OnnxRuntimeEngine:
    """Sessions that take calls from many threads, and the normalisation before them."""

    name = "onnxruntime"

    def __init__(
        self, narrow: onnxruntime.InferenceSession, wide: onnxruntime.InferenceSession, bundle: Bundle
    ) -> None:
        self.narrow, self.wide, self.output = narrow, wide, bundle.output
        self.input_name, self.output_name = narrow.get_inputs()[0].name, narrow.get_outputs()[0].name
        # A graph that was saved for one image takes one; its first side is a name where it takes any number.
        self.together = 1 if isinstance(narrow.get_inputs()[0].shape[0], int) else MAX_TOGETHER
        self.table = bundle.preprocessing
        self.factor = 1 / np.array(self.table.std, np.float32)
        self.offset = -np.array(self.table.mean, np.float32) * self.factor

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Return probabilities for each image of the batch."""
        session = self.wide if is_alone else self.narrow
        outputs = [
            session.run([self.output_name], {self.input_name: self._normalised(batch[at : at + self.together])})[0]
            for at in range(0, len(batch), self.together)
        ]
        return probabilities(np.concatenate(outputs), self.output)

    def _normalised(self, batch: Batch) -> Scores:
        if self.table.channels == "BGR":
            batch = batch[..., ::-1]
        values: Scores = np.multiply(batch, self.factor, dtype=np.float32)
        values += self.offset
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if self.table.layout == "NCHW" else values


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Else four bytes in a name make it take the file for one of its own format, which nothing here has checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
