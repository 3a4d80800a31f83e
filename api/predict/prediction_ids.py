"""Ids of predictions: each says itself what was answered, signed, so that a report needs no memory of it.

An id is the request's, a dot, and a signed note of picture, class, score, model, and of the API key's name where there
are keys. Whoever reports a prediction by its id
can neither invent one nor change what it said; no process has to keep it, and it lasts as long as SECRET_KEY.
"""

import base64
import binascii
import hashlib
import hmac
from functools import lru_cache
from typing import NamedTuple

import settings

MAX_LENGTH = 4096
SIGNATURE_BYTES = 16


class Predicted(NamedTuple):
    """What was answered, and to whom; `model_version` is "<model>/<version>", empty where it is not known.

    `owner` is empty where no API keys are used.
    """

    filename: str
    label: str
    score: float
    model_version: str
    owner: str = ""


def issue(job_id: str, predicted: Predicted) -> str:
    """Give the id of a prediction."""
    told: tuple[str, ...] = (predicted.filename, predicted.label, repr(predicted.score), predicted.model_version)
    if predicted.owner:
        told = (*told, predicted.owner)
    # No text may hold what separates them, or a class of that name would be read as further fields.
    note = "\0".join(text.replace("\0", "\ufffd") for text in told).encode("utf-8", "replace")
    return f"{job_id}.{base64.urlsafe_b64encode(_signature(job_id, note) + note).rstrip(b'=').decode()}"


def read(prediction_id: str) -> Predicted | None:
    """Give what was answered under an id; None where it was not issued here."""
    job_id, _, rest = prediction_id[: MAX_LENGTH + 1].partition(".")
    try:
        signed = base64.urlsafe_b64decode(rest.encode("ascii") + b"=" * (-len(rest) % 4))
    except (UnicodeEncodeError, binascii.Error):
        return None
    signature, note = signed[:SIGNATURE_BYTES], signed[SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(job_id, note)):
        return None
    filename, label, score, *others = note.decode().split("\0")
    return Predicted(filename, label, float(score), *others)


def _signature(job_id: str, note: bytes) -> bytes:
    message = job_id.encode("utf-8", "replace") + b"\0" + note
    return hmac.digest(_key(settings.SECRET_KEY), message, "sha256")[:SIGNATURE_BYTES]


@lru_cache(maxsize=1)
def _key(secret: str) -> bytes:
    """Derive a key for this one purpose."""
    return hashlib.sha256(b"sightline prediction id\0" + secret.encode()).digest()
