"""PyTorch, for GPUs: batches as they come, channels last, and in half precision where that is asked for.

It computes the same weights as the others, out of the bundle's own graph (torch_graph.py). PyTorch is no part of the
set-up: docs/decisions/0014-gpu.md says how it comes in.
"""

from typing import Any

import numpy as np
import torch

from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines.torch_graph import TorchGraph
from inference.errors import EngineError
from inference.scores import probabilities

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
USUAL_PLACEMENT = "auto:fp32"


def load(bundle: Bundle, *, lanes: int, cores: int, placement: str = USUAL_PLACEMENT) -> "TorchEngine":
    """The graph on the device of `placement` (`cuda:fp16`); a processor computes in fp32 whatever it says."""
    name, _, precision = placement.partition(":")
    device = _device(name)
    if device.type == "cpu":
        precision = "fp32"
        torch.set_num_threads(max(1, cores // lanes))
    # fp32 is fp32: left to itself, cuDNN rounds what it multiplies to 10 bits. Half precision adds up in fp32.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    chosen = PRECISIONS[precision or "fp32"]
    try:
        graph = TorchGraph(bundle.model, device, chosen)
    except ValueError as fault:
        raise EngineError(f"PyTorch refuses the model of {bundle.name}/{bundle.version}: {fault}") from fault
    return TorchEngine(graph, bundle, device, chosen)


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "no GPU can be used here"
        raise EngineError(f"DEVICE='cuda', but {why}; DEVICE=auto takes the processor then")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and has_cuda) else "cpu")


class TorchEngine:
    """One graph for all lanes: a GPU takes their batches one after the other."""

    def __init__(self, graph: TorchGraph, bundle: Bundle, device: torch.device, precision: torch.dtype) -> None:
        self.graph = graph
        self.output, self.table = bundle.output, bundle.preprocessing
        self.device, self.precision = device, precision
        shape = (1, 3, 1, 1)
        self.mean = torch.tensor(self.table.mean, dtype=torch.float32, device=device).reshape(shape)
        self.factor = 1 / torch.tensor(self.table.std, dtype=torch.float32, device=device).reshape(shape)

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Probabilities for each picture of the batch."""
        with torch.inference_mode():
            outputs: Any = self.graph(self._normalised(batch)).float().cpu().numpy()
        return probabilities(outputs.astype(np.float32, copy=False), self.output)

    def _normalised(self, batch: Batch) -> torch.Tensor:
        # As bytes: a quarter of what floats would be to copy. Their order is channels last already.
        pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device).permute(0, 3, 1, 2)
        if self.table.channels == "BGR":
            pixels = pixels.flip(1)
        values = ((pixels.to(torch.float32) - self.mean) * self.factor).to(self.precision)
        return values if self.table.layout == "NCHW" else values.permute(0, 2, 3, 1)
