"""Everything that edits ONNX graphs, by the `onnx` library: for set-up and operator commands. No worker imports it."""
