"""PyTriton, NVIDIA Triton from Python: one callable for each core behind the dynamic batcher, raw image bodies.

A raw body needs the header `Inference-Header-Content-Length: 0`; the answer has the tensors of the KServe protocol.
"""

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.decorators import batch  # type: ignore[import-not-found]
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor  # type: ignore[import-not-found]
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found]

from benchmarks import settings
from benchmarks.peers.pillow_onnx import PillowOnnxClassifier

NAME = "classifier"
# Triton's part of the model runs in the system's libpython with this interpreter's library. Where these are not of one
# version, PyTriton's shared memory for tensors does not start, and they travel as base64.
WITHOUT_SHARED_MEMORY = "PYTRITON_NO_TENSORSTORE"


def make_callable() -> Any:
    """Return what classifies images that came together, with a model of its own."""
    classifier = PillowOnnxClassifier(settings.BUNDLE, threads=1, draft=settings.PILLOW_DRAFT)

    @batch  # type: ignore[untyped-decorator]
    def classify(image: Any) -> dict[str, Any]:
        found = classifier.predict([classifier.decode(content) for content in image[:, 0]])
        labels = np.array([[label.encode()] for label, _ in found], dtype=object)
        return {"prediction": labels, "score": np.array([[score] for _, score in found], np.float32)}

    return classify


def is_of_one_version() -> bool:
    """Return whether the system's libpython is of this interpreter's version."""
    name = f"libpython3.{sys.version_info.minor}.so.1.0"
    ctypes.CDLL(name)
    # What it would answer itself is this interpreter's version, whose symbols come first.
    [path, *_] = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(name))
    return b"\0%s\0" % platform.python_version().encode() in Path(path).read_bytes()


if __name__ == "__main__":
    if not is_of_one_version():
        os.environ[WITHOUT_SHARED_MEMORY] = "1"
    configuration = TritonConfig(
        http_address="127.0.0.1", http_port=settings.PORT, allow_grpc=False, allow_metrics=False, log_verbose=0
    )
    with Triton(config=configuration) as triton:
        triton.bind(
            model_name=NAME,
            infer_func=[make_callable() for _ in range(settings.WORKERS)],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[
                Tensor(name="prediction", dtype=bytes, shape=(1,)),
                Tensor(name="score", dtype=np.float32, shape=(1,)),
            ],
            config=ModelConfig(
                max_batch_size=settings.MAX_BATCH_SIZE,
                batcher=DynamicBatcher(max_queue_delay_microseconds=1000 * settings.MAX_BATCH_WAIT_MS),
            ),
        )
        triton.serve()
