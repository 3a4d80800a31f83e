"""The default network in the formats of other engines, for `benchmarks.own.engines`."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks import settings

WORKSPACE = settings.WORKSPACE / "engines"
PIXELS = WORKSPACE / "pixels.npy"
# How ncnn marks weights of one byte each, and how far they and activations reach.
NCNN_INT8, NCNN_MAX = 0x000D4B38, 127.0


def normalised(batch: Any) -> Any:
    """Return what the network takes, from pixels as bytes."""
    return (batch.astype(np.float32) - 127) / 128


def prepare(folder: Path) -> None:
    """Make the pixels of the photographs and each graph that is not there yet."""
    from inference import bundle  # noqa: PLC0415

    WORKSPACE.mkdir(parents=True, exist_ok=True)
    fp32 = bundle.load(settings.BUNDLES / "1-fp32")
    paths = sorted(folder.glob("*.JPEG"))
    pixels = np.empty((len(paths), 224, 224, 3), np.uint8)
    for path, out in zip(paths, pixels, strict=True):
        fp32.preprocessing.prepare(path.read_bytes(), out)
    np.save(PIXELS, pixels)
    fixed = WORKSPACE / "model.onnx"
    if not fixed.exists():
        model = onnx.load_from_string(fp32.model)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        onnx.save(model, fixed)
    for file, make in ((WORKSPACE / name, make) for name, make in MAKERS.items()):
        if not file.exists():
            try:
                make(fixed, file, pixels[::2])
            except (ImportError, OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as fault:
                print(f"{file.name}: {fault}")


def _mnn(model: Path, target: Path, *options: str) -> None:
    call = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
    words = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(target), "--bizCode", "benchmark", *options]
    subprocess.run([sys.executable, "-c", call, *words], check=True, stdout=subprocess.DEVNULL)


def _ncnn(model: Path, target: Path, _pixels: Any) -> None:
    pnnx = Path(sys.executable).with_name("pnnx")
    subprocess.run([pnnx, model, "inputshape=[1,3,224,224]", "fp16=0"], check=True, capture_output=True)
    model.with_name("model.ncnn.bin").rename(target)
    model.with_name("model.ncnn.param").rename(target.with_suffix(".param"))


def _ncnn_int8(model: Path, target: Path, _pixels: Any) -> None:
    """Write what ncnn2int8 would, which is not in the package: weights by channel, activations symmetric about 0."""
    from default_model.graphs import all_ranges  # noqa: PLC0415
    from default_model.variants import LITE0  # noqa: PLC0415

    graph = onnx.load(model).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    scales = {name: NCNN_MAX / max(-low, high) for name, (low, high) in all_ranges(LITE0).items()}
    lines, content = target.with_name("ncnn-fp32.param").read_text().splitlines(), b""
    for at, line in enumerate(lines):
        if line.startswith(("Convolution", "InnerProduct")):
            node = layers.pop(0)
            content += _ncnn_layer(node, constants, scales[node.input[0]])
            lines[at] = f"{line.rstrip()} 8=1"
    target.with_suffix(".param").write_text("\n".join(lines) + "\n")
    target.write_bytes(content)


def _ncnn_layer(node: Any, constants: Mapping[str, Any], input_scale: float) -> bytes:
    weights, biases = constants[node.input[1]], constants[node.input[2]]
    flat = weights.reshape(len(weights), -1)
    scales = NCNN_MAX / np.maximum(np.abs(flat).max(axis=1), 1e-12)
    integers = np.rint(flat * scales[:, None]).astype(np.int8).tobytes()
    integers += bytes(-len(integers) % 4)
    each = (biases, scales, [input_scale])
    packed: bytes = np.uint32(NCNN_INT8).tobytes() + integers
    return packed + b"".join(np.asarray(part, np.float32).tobytes() for part in each)


def _litert(model: Path, target: Path, _pixels: Any) -> None:
    import litert_torch  # type: ignore[import-not-found]  # noqa: PLC0415
    import torch  # noqa: PLC0415

    network = litert_torch.to_channel_last_io(_torch_network(model), args=[0]).eval()
    litert_torch.convert(network, (torch.zeros(1, 224, 224, 3),)).export(str(target))


def _torch_network(model: Path) -> Any:
    """Return the graph as a module of PyTorch, from which LiteRT converts."""
    import torch  # noqa: PLC0415

    from inference.engines.torch_engine import OPERATIONS  # noqa: PLC0415

    # Every Clip of it is one from 0 to 6; with bounds that are tensors, LiteRT would not know it as such.
    operations = OPERATIONS | {"Clip": lambda values, *_: torch.nn.functional.relu6(values)}
    graph = onnx.load(model).graph
    constants = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    attributes = [{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in graph.node]

    class Network(torch.nn.Module):  # type: ignore[misc]
        def forward(self, image: Any) -> Any:
            values = {**constants, graph.input[0].name: image}
            for node, options in zip(graph.node, attributes, strict=True):
                values[node.output[0]] = operations[node.op_type](*(values[name] for name in node.input), **options)
            return values[graph.output[0].name]

    return Network().eval()


def _litert_int8(_model: Path, target: Path, pixels: Any) -> None:
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]  # noqa: PLC0415
    from ai_edge_quantizer import quantizer, recipe  # type: ignore[import-not-found]  # noqa: PLC0415

    source = str(target.with_name("litert-fp32.tflite"))
    [(signature, names)] = Interpreter(source).get_signature_list().items()
    work = quantizer.Quantizer(source)
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = work.calibrate({signature: [{names["inputs"][0]: normalised(each[None])} for each in pixels]})
    work.quantize(ranges).export_model(str(target))


# In this order: the int8 form of an engine is made from its fp32 form.
MAKERS = {
    "ncnn-fp32.bin": _ncnn,
    "ncnn-int8.bin": _ncnn_int8,
    "mnn-fp32.mnn": lambda model, target, _: _mnn(model, target),
    "mnn-int8.mnn": lambda model, target, _: _mnn(
        model, target, "--weightQuantBits", "8", "--weightQuantAsymmetric", "0"
    ),
    "litert-fp32.tflite": _litert,
    "litert-int8.tflite": _litert_int8,
}
