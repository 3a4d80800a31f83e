"""Other systems' protocols on the same predictions: KServe, Triton, TorchServe, SageMaker and Hugging Face."""
