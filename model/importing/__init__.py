"""Networks of somebody's own: from an ONNX file to a bundle that serves."""
