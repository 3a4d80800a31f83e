"""Client of a Sightline service: `Client("http://127.0.0.1:8000").classify(image)`."""

from sightline.async_client import AsyncClient
from sightline.client import Client, Guess, Prediction, Refused, ScoredLabel, ServiceError, Unreachable

__all__ = [
    "AsyncClient",
    "Client",
    "Guess",
    "Prediction",
    "Refused",
    "ScoredLabel",
    "ServiceError",
    "Unreachable",
    "__version__",
]

__version__ = "0.1.0"
