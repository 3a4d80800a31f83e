"""A graph as exporters write it, rewritten to what the engines get: float32, images of 3 channels, a row of scores."""

from collections.abc import Iterator

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from importing.facts import ANY, Facts
from onnx_tools.graph import Graph, encode, ending_in, load

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
OTHER_FLOATS = (*HALVES, TensorProto.DOUBLE)
LARGEST = float(np.finfo(np.float32).max)
OPEN = "N"
GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def adapted(content: bytes, facts: Facts) -> bytes:
    """Return the same network for the engines: the same bytes where nothing has to be changed."""
    original = load(content)
    if [value.name for value in original.graph.output] != [facts.output.name]:
        original = ending_in(original, facts.output.name)
    model = ModelProto()
    model.CopyFrom(original)
    if {facts.input.type, facts.output.type} != {"float32"} or any(map(_is_half, _tensors(model.graph))):
        _to_float32(model)
    _open_input(model.graph, facts)
    _flatten_output(model)
    return content if encode(model) == encode(load(content)) else encode(model)


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """Yield a graph and those within its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in GRAPHS else ():
                yield from _graphs(inner)


def _attributes(graph: GraphProto) -> Iterator[AttributeProto]:
    for each in _graphs(graph):
        for node in each.node:
            yield from node.attribute


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every constant of a graph, those of its nodes, too."""
    for each in _graphs(graph):
        yield from each.initializer
    yield from (attribute.t for attribute in _attributes(graph) if attribute.type == AttributeProto.TENSOR)


def _is_half(tensor: TensorProto) -> bool:
    return tensor.data_type in HALVES


def _to_float32(model: ModelProto) -> None:
    """Compute in float32 what is computed in other floats; whole numbers stay, those that come in, too."""
    for tensor in _tensors(model.graph):
        if tensor.data_type in OTHER_FLOATS:
            values = numpy_helper.to_array(tensor).astype(np.float64).clip(-LARGEST, LARGEST)
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    for attribute in _attributes(model.graph):
        if attribute.name in ("to", "dtype") and attribute.i in OTHER_FLOATS:
            attribute.i = TensorProto.FLOAT
    for graph in _graphs(model.graph):
        graph.ClearField("value_info")
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in OTHER_FLOATS:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
    constants = {tensor.name for tensor in model.graph.initializer}
    [image] = [value for value in model.graph.input if value.name not in constants]
    if image.type.tensor_type.elem_type == TensorProto.UINT8:
        whole, image.name = image.name, f"{image.name}.float32"
        image.type.tensor_type.elem_type = TensorProto.FLOAT
        _put_first(model.graph, helper.make_node("Cast", [image.name], [whole], name=whole, to=TensorProto.UINT8))


def _put_first(graph: GraphProto, node: NodeProto) -> None:
    rest = list(graph.node)
    graph.ClearField("node")
    graph.node.extend([node, *rest])


def _open_input(graph: GraphProto, facts: Facts) -> None:
    """Give the input its 3 channels, and any batch size where it is not one."""
    constants = {tensor.name for tensor in graph.initializer}
    [image] = [value for value in graph.input if value.name not in constants]
    names = {"N": OPEN, "C": "channels", "H": "height", "W": "width"}
    changed = False
    for dimension, length, what in zip(image.type.tensor_type.shape.dim, facts.shape, facts.layout, strict=True):
        is_open = isinstance(length, str) or (what == "N" and length != 1)
        if not is_open and dimension.dim_value != length:
            dimension.dim_value, changed = length, True
        elif is_open and (dimension.dim_value or not dimension.dim_param):
            dimension.dim_param, changed = (names[what] if length == ANY or what == "N" else str(length)), True
    if changed:
        graph.ClearField("value_info")
        _open_batch(graph)


def _open_batch(graph: GraphProto) -> None:
    dimensions = graph.output[0].type.tensor_type.shape.dim
    if len(dimensions) > 1 and dimensions[0].dim_value != 1:
        dimensions[0].dim_param = OPEN


def _flatten_output(model: ModelProto) -> None:
    """Put out a row of scores for each image, where there are further dimensions of one, or none for the images."""
    graph = Graph(encode(model))
    shape = graph.shape(graph.output)
    if shape is None or len(shape) == 2:
        return
    name = graph.fresh("scores.rows")
    if len(shape) == 1:
        shape_name = graph.fresh("scores.shape")
        model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), shape_name))
        node = helper.make_node("Reshape", [graph.output, shape_name], [name], name=name)
    else:
        node = helper.make_node("Flatten", [graph.output], [name], name=name, axis=1)
    model.graph.node.append(node)
    model.graph.ClearField("output")
    classes = next((length for length in (shape if len(shape) == 1 else shape[1:]) if length != 1), 1)
    rows = [1 if len(shape) == 1 else OPEN, classes or "classes"]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, rows))
