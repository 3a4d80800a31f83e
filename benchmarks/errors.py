"""The bench's errors, under one root."""


class BenchError(Exception):
    """A fault that ends a step of the benchmark; the others continue."""


class LoadError(BenchError):
    """The load could not be put on or came back without a result."""


class NoAnswerError(BenchError):
    """A server did not give a right answer in time."""


class WrongAnswersError(BenchError):
    """A system's answers are not those of direct inference, so timing it would mean nothing."""


class PreparationError(BenchError):
    """What a run needs is missing."""
