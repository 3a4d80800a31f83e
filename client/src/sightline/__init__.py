"""Client of a Sightline service: `Client("http://127.0.0.1:8000").classify(image)`."""

from sightline.client import Client, Guess, Prediction, Refused, ServiceError, Unreachable

__all__ = ["Client", "Guess", "Prediction", "Refused", "ServiceError", "Unreachable", "__version__"]

__version__ = "0.1.0"
