"""Why a network cannot be imported; each message names what was found and what to do."""

from training.errors import LearningError


class ImportRefusedError(LearningError):
    """The graph, its labels or the pictures do not fit each other or the service."""
