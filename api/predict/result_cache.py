"""Asks a worker only what it has not answered before, and is not being asked already."""

from collections.abc import Callable

from predict.single_flight import Flights, IsAbandoned
from wire.messages import Answer
from wire.result_cache import AnswerCache, Question
from wire.worker_registry import Served

# Ask a worker: until when, and whom to ask whether anybody still waits.
AskWorker = Callable[[float, IsAbandoned | None], Answer]


class ResultCache:
    """The answers in Redis, and the questions under way in this process."""

    def __init__(self, answers: AnswerCache) -> None:
        self._answers = answers
        self._flights: Flights[tuple[Answer, bool]] = Flights()

    def answer(  # noqa: PLR0913  a question has that many sides
        self,
        picture: str,
        top_k: int,
        served: Served | None,
        *,
        timeout_s: float,
        is_abandoned: IsAbandoned | None,
        ask: AskWorker,
    ) -> tuple[Answer, bool]:
        """Give the answer for a picture, named by its SHA-256, and whether it cost no job of its own.

        `served` is what the workers serve; None, while they differ, is no time to keep answers.
        """

        def find_or_ask(until: float, gone: IsAbandoned | None) -> tuple[Answer, bool]:
            if served is None:
                return ask(until, gone), False
            return self._find_or_ask(Question(picture, served), top_k, lambda: ask(until, gone))

        question = (picture, top_k, served)
        (answer, was_kept), is_shared = self._flights.share(question, timeout_s, is_abandoned, find_or_ask)
        return answer, was_kept or is_shared

    def _find_or_ask(self, question: Question, top_k: int, ask: Callable[[], Answer]) -> tuple[Answer, bool]:
        found = self._answers.find(question, top_k)
        if found.answer is not None:
            return found.answer, True
        answer = ask()
        # Before anybody hears of it: who comes now finds either this question under way or its answer.
        self._answers.keep(question, top_k, answer, found.slot)
        return answer, False
