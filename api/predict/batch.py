"""Several pictures in one request: each is a job of its own, and comes to an answer or a failure of its own."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from flask import Request
from werkzeug.datastructures import FileStorage

import error_handlers
import middleware
from images import uploads
from observability import metrics
from openapi.schemas import Outcome
from predict import options
from problems import Problem
from wire.errors import QueueFull

LOG = logging.getLogger("sightline.api")

AskModel = Callable[[str, middleware.Ask], options.Result]


class Answered(NamedTuple):
    """What came of one of the pictures: its name as sent, and either what is stored and the answer, or a failure."""

    sent: str
    stored: uploads.Picture | None = None
    result: options.Result | None = None
    problem: Problem | None = None


def answer(
    request: Request, files: Sequence[FileStorage], folder: Path, wishes: options.Wishes, ask_model: AskModel
) -> list[Answered]:
    """Store every picture that can be used, then ask for all of them at once; in the order in which they were sent.

    Raises QueueFull where the queue is known to have no room for all of them.
    """
    refuse_if_full(len(files))
    found = [_stored(file, folder) for file in files]
    uploads.forget_body(request)
    threads = []
    for number, one in enumerate(found):
        if one.stored is not None:
            # Without its digest: the result cache is for single pictures.
            ask = options.ask_of(request, wishes, one.stored._replace(sha256=""))
            threads.append(threading.Thread(target=_ask, args=(found, number, one.stored.name, ask, ask_model)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def refuse_if_full(count: int) -> None:
    """Raise QueueFull where so many jobs at once are known to find no room."""
    try:
        middleware.refuse_if_full(count)
    except QueueFull as refusal:
        metrics.count_drop(refusal)
        raise


def outcome(one: Answered, wishes: options.Wishes, *, instance: str, request_id: str) -> Outcome:
    """Give what is told of one of them."""
    if one.result is None:
        problem = one.problem or _unforeseen()
        told = problem.document(instance=instance, request_id=request_id)
        return {"file": one.sent, "success": False, "prediction": None, "score": None, "problem": told}
    document: Outcome = {
        "file": one.sent,
        "success": True,
        "prediction": one.result.label,
        "score": one.result.score,
        "filename": one.result.filename,
        "prediction_id": one.result.id,
        "model_version": one.result.model_version,
    }
    if wishes.top_k is not None:
        document["predictions"] = options.guesses(one.result, wishes.top_k)
    return document


def _stored(file: FileStorage, folder: Path) -> Answered:
    name = file.filename or ""
    try:
        return Answered(name, stored=uploads.take(file, folder))
    except Exception as error:  # noqa: BLE001  one that cannot be stored fails alone, whatever it is
        return Answered(name, problem=_problem_of(error))


def _ask(found: list[Answered], number: int, name: str, ask: middleware.Ask, ask_model: AskModel) -> None:
    one = found[number]
    try:
        found[number] = one._replace(result=ask_model(name, ask))
    except Exception as error:  # noqa: BLE001  the edge of its thread
        found[number] = one._replace(problem=_problem_of(error))


def _problem_of(error: Exception) -> Problem:
    problem = error_handlers.problem_of(error)
    if problem is None:
        LOG.error("one of several pictures failed", exc_info=error)
    # The traceback holds the picture's bytes, and the others are still to be answered.
    return (problem or _unforeseen()).with_traceback(None)


def _unforeseen() -> Problem:
    return Problem(500, "internal", "The service failed; its log says why.")
