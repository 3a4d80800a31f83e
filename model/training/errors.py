"""What can go wrong while a model is improved, compared or promoted; the message says what to do."""


class LearningError(Exception):
    """Root of everything that this package raises on purpose."""


class HeadError(LearningError):
    """The model's graph does not end in one linear layer over pooled features, so nothing can be fitted or shown."""


class CasesError(LearningError):
    """The reviewed cases cannot be used as they stand."""


class VersionError(LearningError):
    """A version of a bundle is not there, or not in the order that was asked for."""
