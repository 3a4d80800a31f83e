"""The graph of each precision; the same network gives the same bytes on every machine."""

from default_model.float_graph import float_graph
from default_model.folding import Network
from default_model.int8_graph import int8_graph
from default_model.ranges import read_ranges
from default_model.recipe import Precision


def graph_file(network: Network, precision: Precision) -> bytes:
    """Return the content of model.onnx."""
    if precision is Precision.FP32:
        return float_graph(network)
    return int8_graph(network, read_ranges())
