"""An ONNX graph of a convolutional network as a PyTorch module, with the graph's own weights.

The operations of the usual classifiers, each a line of the table below; another one is refused by name.
"""

from collections.abc import Callable
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, Any]
Operation = Callable[..., Tensor]


class TorchGraph:
    """Computes what the graph computes, in this precision on this device; ValueError where it cannot."""

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
        """The graph's output for a batch of inputs."""
        # An input that is left out has no name.
        values: dict[str, Any] = {**self._constants, "": None, self._input: images}
        for operation, inputs, output, attributes in self._steps:
            values[output] = operation(*(values[name] for name in inputs), **attributes)
        result: Tensor = values[self._output]
        return result


def _constant(array: Any, device: torch.device, precision: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(array.copy()).to(device)
    if tensor.is_floating_point():
        tensor = tensor.to(precision)
    # Filters in the order of the pixels: each position with all its channels.
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _advice(unknown: list[str]) -> str:
    if "DequantizeLinear" in unknown:
        return "an int8 bundle is for the processor: PRECISION=fp32"
    return "ENGINE=onnxruntime runs whatever ONNX can say"


def _convolution(
    values: Tensor, weights: Tensor, biases: Tensor | None = None, *, group: int = 1, **told: Any
) -> Tensor:
    values, padding = _padded(values, told, fill=0.0)
    stride, dilation = told.get("strides", 1), told.get("dilations", 1)
    return functional.conv2d(values, weights, biases, stride, padding, dilation, group)


def _largest(values: Tensor, *, kernel_shape: list[int], **told: Any) -> Tensor:
    values, padding = _padded(values, told, fill=float("-inf"))
    return functional.max_pool2d(
        values,
        kernel_shape,
        told.get("strides", 1),
        padding,
        told.get("dilations", 1),
        ceil_mode=bool(told.get("ceil_mode", 0)),
    )


def _padded(values: Tensor, told: Attributes, *, fill: float) -> tuple[Tensor, tuple[int, int]]:
    """What PyTorch can pad by itself as its padding; an uneven one beforehand."""
    if told.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError(f"padding {told['auto_pad']!r} is not known; save the graph with its pads")
    top, left, bottom, right = told.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return values, (top, left)
    return functional.pad(values, (left, right, top, bottom), value=fill), (0, 0)


def _normalisation(values: Tensor, *learned: Tensor, epsilon: float = 1e-5, **_: Any) -> Tensor:
    scale, bias, mean, variance = learned
    return functional.batch_norm(values, mean, variance, scale, bias, eps=epsilon)


def _product(left: Tensor, right: Tensor, added: Tensor | None = None, **told: Any) -> Tensor:
    left, right = left.T if told.get("transA") else left, right.T if told.get("transB") else right
    product: Tensor = told.get("alpha", 1.0) * (left @ right)
    return product if added is None else product + told.get("beta", 1.0) * added


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
