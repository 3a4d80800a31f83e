"""What is wrong with an answer to `POST /predict`, in addition to its status."""

from collections.abc import Mapping
from typing import Any

from stress_test.pool import Upload

KEYS = ["success", "prediction", "score"]
# A lone image may be spread over all cores, which adds up in another order.
SCORE_TOLERANCE = 0.01
REFUSED = "refused: 503 with Retry-After"


class Answers:
    """Remembers the first answer to each image: one that got mixed up with another's is seen by it."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, float]] = {}

    def fault(self, image: Upload, status: int, headers: Mapping[str, str], document: Any) -> str | None:
        """Say what is wrong; None where nothing is."""
        if status != 200:
            return _refusal(status, headers)
        if not isinstance(document, dict) or list(document) != KEYS or document["success"] is not True:
            return "an answer of another shape than promised"
        label, score = document["prediction"], document["score"]
        wanted = image.label or self._first.setdefault(image.name, (label, score))[0]
        if label != wanted:
            return f"{image.name}: {label} instead of {wanted}"
        first = self._first.setdefault(image.name, (label, score))[1]
        return None if abs(score - first) <= SCORE_TOLERANCE else f"{image.name}: first {first}, now {score}"


def _refusal(status: int, headers: Mapping[str, str]) -> str:
    if status == 0:
        return "no answer: the connection failed"
    if status == 503:
        return REFUSED if headers.get("Retry-After") else "503 without Retry-After"
    return f"status {status}"
