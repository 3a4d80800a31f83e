"""PyTorch, for GPUs: batches as they come, channels last, and in half precision where that is set.

It computes with the weights of the bundle's own graph. Each operation of the usual classifiers is a line of the table
at the end; a graph with another one is refused. PyTorch is no part of the set-up (docs/decisions/0014-gpu.md).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import probabilities
from inference.errors import EngineError

Attributes = dict[str, Any]
Operation = Callable[..., Tensor]

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
USUAL_PLACEMENT = "auto:fp32"


def load(bundle: Bundle, *, streams: int, cores: int, placement: str = USUAL_PLACEMENT) -> "TorchEngine":
    """Load the graph on the device of `placement` (`cuda:fp16`), on a processor always in fp32; raise EngineError."""
    device_name, _, precision = placement.partition(":")
    device = _device(device_name)
    if device.type == "cpu":
        precision = "fp32"
        torch.set_num_threads(max(1, cores // streams))
    # fp32 is fp32: left to itself, cuDNN rounds what it multiplies to 10 bits. Half precision adds up in fp32.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    chosen = PRECISIONS[precision or "fp32"]
    try:
        graph = TorchGraph(bundle.model, device, chosen)
    except ValueError as fault:
        raise EngineError(f"PyTorch refuses the model of {bundle.name}/{bundle.version}: {fault}") from fault
    return TorchEngine(graph, bundle, device, chosen, placement)


def _device(name: str) -> torch.device:
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        why = "this PyTorch was built without CUDA" if torch.version.cuda is None else "no GPU can be used here"
        raise EngineError(f"DEVICE='cuda', but {why}; DEVICE=auto takes the processor then")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and has_cuda) else "cpu")


class TorchGraph:
    """Computes what the graph computes, in this precision on this device; raises ValueError where it cannot."""

    def __init__(self, content: bytes, device: torch.device, precision: torch.dtype) -> None:
        try:
            graph = onnx.load_from_string(content).graph
        except DecodeError as fault:
            raise ValueError(f"no ONNX graph: {fault}") from fault
        if unknown := sorted({node.op_type for node in graph.node} - OPERATIONS.keys()):
            raise ValueError(f"it has no operation {', '.join(unknown)}; {_advice(unknown)}")
        self._constants = {
            tensor.name: _constant(numpy_helper.to_array(tensor), device, precision) for tensor in graph.initializer
        }
        inputs = [value.name for value in graph.input if value.name not in self._constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ValueError(f"it wants one input and one output, the graph has {len(inputs)} and {len(graph.output)}")
        self._input, self._output = inputs[0], graph.output[0].name
        self._steps = [
            (
                OPERATIONS[node.op_type],
                tuple(node.input),
                node.output[0],
                {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute},
            )
            for node in graph.node
        ]

    def __call__(self, images: Tensor) -> Tensor:
        """Return the graph's output for a batch of inputs."""
        # An input that is left out has no name.
        values: dict[str, Any] = {**self._constants, "": None, self._input: images}
        for operation, inputs, output, attributes in self._steps:
            values[output] = operation(*(values[name] for name in inputs), **attributes)
        result: Tensor = values[self._output]
        return result


class TorchEngine:
    """One graph for all threads: a GPU takes their batches one after the other."""

    def __init__(
        self, graph: TorchGraph, bundle: Bundle, device: torch.device, precision: torch.dtype, placement: str
    ) -> None:
        self.graph = graph
        self.output, self.table = bundle.output, bundle.preprocessing
        self.device, self.precision = device, precision
        self.name = f"torch:{placement}"
        [self.computes_in] = [name for name, each in PRECISIONS.items() if each is precision]
        shape = (1, 3, 1, 1)
        self.mean = torch.tensor(self.table.mean, dtype=torch.float32, device=device).reshape(shape)
        self.factor = 1 / torch.tensor(self.table.std, dtype=torch.float32, device=device).reshape(shape)

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Return probabilities for each image of the batch."""
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


def _constant(array: Any, device: torch.device, precision: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(array.copy()).to(device)
    if tensor.is_floating_point():
        tensor = tensor.to(precision)
    # Filters in the order of the pixels: each position with all its channels.
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _advice(unknown: list[str]) -> str:
    if "DequantizeLinear" in unknown:
        return "an int8 bundle is for the processor: PRECISION=fp32"
    return "ENGINE=onnxruntime runs any ONNX graph"


def _convolution(
    values: Tensor, weights: Tensor, biases: Tensor | None = None, *, group: int = 1, **options: Any
) -> Tensor:
    values, padding = _padded(values, options, fill=0.0)
    stride, dilation = options.get("strides", 1), options.get("dilations", 1)
    return functional.conv2d(values, weights, biases, stride, padding, dilation, group)


def _largest(values: Tensor, *, kernel_shape: list[int], **options: Any) -> Tensor:
    values, padding = _padded(values, options, fill=float("-inf"))
    return functional.max_pool2d(
        values,
        kernel_shape,
        options.get("strides", 1),
        padding,
        options.get("dilations", 1),
        ceil_mode=bool(options.get("ceil_mode", 0)),
    )


def _padded(values: Tensor, options: Attributes, *, fill: float) -> tuple[Tensor, tuple[int, int]]:
    """Return the values and the padding that PyTorch is to add, after an uneven one was added here."""
    if options.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError(f"padding {options['auto_pad']!r} is not known; save the graph with its pads")
    top, left, bottom, right = options.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return values, (top, left)
    return functional.pad(values, (left, right, top, bottom), value=fill), (0, 0)


def _normalisation(values: Tensor, *learned: Tensor, epsilon: float = 1e-5, **_: Any) -> Tensor:
    scale, bias, mean, variance = learned
    return functional.batch_norm(values, mean, variance, scale, bias, eps=epsilon)


def _product(left: Tensor, right: Tensor, added: Tensor | None = None, **options: Any) -> Tensor:
    left, right = left.T if options.get("transA") else left, right.T if options.get("transB") else right
    product: Tensor = options.get("alpha", 1.0) * (left @ right)
    return product if added is None else product + options.get("beta", 1.0) * added


OPERATIONS: dict[str, Operation] = {
    "Add": lambda one, other: one + other,
    "BatchNormalization": _normalisation,
    "Clip": lambda values, low=None, high=None: values.clamp(low, high),
    "Conv": _convolution,
    "Flatten": lambda values, axis=1: values.flatten(axis),
    "Gemm": _product,
    "GlobalAveragePool": lambda values: values.mean((2, 3), keepdim=True),
    "Identity": lambda values: values,
    "MaxPool": _largest,
    "Mul": lambda one, other: one * other,
    "Relu": functional.relu,
    "Sigmoid": torch.sigmoid,
    "Softmax": lambda values, axis=-1: values.softmax(axis),
    "Transpose": lambda values, perm: values.permute(*perm),
}
