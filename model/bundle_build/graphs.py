"""The graph of each precision; the same network gives the same bytes on every machine."""

from bundle_build.float_graph import float_graph
from bundle_build.folding import Network
from bundle_build.int8_graph import int8_graph
from bundle_build.ranges import read_ranges
from bundle_build.recipe import Precision


def graph_file(network: Network, precision: Precision) -> bytes:
    """Return the content of model.onnx."""
    if precision is Precision.FP32:
        return float_graph(network)
    return int8_graph(network, read_ranges())
