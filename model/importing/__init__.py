"""From an ONNX file of somebody's own to a bundle: what its graph says, how pictures become its input, and int8."""
