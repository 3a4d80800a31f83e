"""Makes the default bundle at set-up: from the published checkpoint to ONNX, without PyTorch."""
