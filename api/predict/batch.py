"""Several images in one request: each is a job of its own, and ends with an answer or a failure of its own."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from flask import Request
from werkzeug.datastructures import FileStorage

import error_handlers
from auth import access
from images import uploads
from images.uploads import StoredImage
from observability import metrics
from openapi.schemas import BatchItemResponse
from predict import job_queue
from predict.prediction import Prediction, PredictOptions
from problems import Problem
from storage.images.port import ImageStore

LOG = logging.getLogger("sightline.api")

Classify = Callable[[StoredImage, PredictOptions], Prediction]


class BatchItem(NamedTuple):
    """One image of a batch: its file name as sent, where it is stored, and either its prediction or what went wrong."""

    sent: str
    image: StoredImage | None = None
    prediction: Prediction | None = None
    problem: Problem | None = None

    def result(self) -> Prediction:
        """Return the prediction; raise Problem where there is none."""
        if self.prediction is None:
            raise self.problem or _unexpected()
        return self.prediction

    def to_json(self, top_k: int | None, *, instance: str, request_id: str) -> BatchItemResponse:
        """Return what became of this image, as a document."""
        if self.prediction is not None:
            return cast(BatchItemResponse, {"file": self.sent, **self.prediction.to_json(top_k, is_full=True)})
        problem = (self.problem or _unexpected()).document(instance=instance, request_id=request_id)
        return {"file": self.sent, "success": False, "prediction": None, "score": None, "problem": problem}


def predict(
    request: Request, files: Sequence[FileStorage], images: ImageStore, options: PredictOptions, classify: Classify
) -> list[BatchItem]:
    """Store every image that can be used, then classify all of them in parallel; return them in the order sent.

    Each counts as a request for the rate limit. Raise Problem where that is reached, and QueueFull where the queue is
    known to have no room for all of them.
    """
    access.count_images(len(files))
    job_queue.check_room(len(files), options.client)
    items = [_stored(file, images) for file in files]
    uploads.forget_body(request)
    threads = [
        threading.Thread(target=_classify, args=(items, number, item.image, options, classify))
        for number, item in enumerate(items)
        if item.image is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if answered := [item.prediction.model_version for item in items if item.prediction is not None]:
        metrics.note_version(answered[0])
    return items


def headers_of(results: Sequence[Prediction]) -> dict[str, str]:
    """Return the response headers: of several images, the first one's own facts would be taken for those of all."""
    return results[0].headers() if len(results) == 1 else {"X-Model-Version": results[0].model_version}


def _stored(file: FileStorage, images: ImageStore) -> BatchItem:
    name = file.filename or ""
    try:
        return BatchItem(name, image=uploads.store_file(file, images, job_queue.check_expensive))
    except Exception as error:  # noqa: BLE001  one that cannot be stored fails alone, whatever it is
        return BatchItem(name, problem=_problem_of(error))


def _classify(
    items: list[BatchItem], number: int, image: StoredImage, options: PredictOptions, classify: Classify
) -> None:
    try:
        items[number] = items[number]._replace(prediction=classify(image, options))
    except Exception as error:  # noqa: BLE001  the edge of its thread
        items[number] = items[number]._replace(problem=_problem_of(error))


def _problem_of(error: Exception) -> Problem:
    problem = error_handlers.problem_of(error)
    if problem is None:
        LOG.error("one of several images failed", exc_info=error)
    # The traceback holds the image's bytes, and the others are still to be answered.
    return (problem or _unexpected()).with_traceback(None)


def _unexpected() -> Problem:
    return Problem(500, "internal", "The service failed; see its log.")
