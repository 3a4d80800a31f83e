"""The contract's door to the queue: `model_predict`, its options and its answer. predict/ holds what is behind it."""

from predict.job_queue import model_predict
from predict.prediction import Prediction, PredictOptions, current_options

__all__ = ["PredictOptions", "Prediction", "current_options", "model_predict"]
