"""Other systems' protocols on the same predictions: Open Inference Protocol v2, TorchServe and SageMaker."""
