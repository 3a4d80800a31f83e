"""The network as the bytes of an ONNX file."""

from bundle_build.float_graph import float_graph
from bundle_build.folding import Network
from bundle_build.recipe import Precision


def graph_bytes(network: Network, precision: Precision) -> bytes:
    """Return model.onnx; the same network gives the same bytes on every machine."""
    content: bytes = float_graph(network).SerializeToString(deterministic=True)
    return content
