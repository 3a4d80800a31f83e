"""The errors of model/: one tree; the class names the cause, the message the remedy."""

UNSUPPORTED_TYPE = "unsupported_type"
IMAGE_TOO_LARGE = "image_too_large"
IMAGE_BROKEN = "image_broken"
IMAGE_MISSING = "image_missing"
STORAGE_UNAVAILABLE = "storage_unavailable"
# Characters of a value in a message.
SHOWN = 100


class ModelError(Exception):
    """Root of everything that model/ raises on purpose."""


class InferenceError(ModelError):
    """An image, a bundle or the engine cannot be used: nothing can be predicted."""


class ImageError(InferenceError):
    """The image's fault, or that of its place: `code` is one of the constants above, the text describes the fault."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class BundleError(InferenceError):
    """The model bundle's fault: a file is missing, altered, or has content that this version does not support."""


class EngineError(InferenceError):
    """The installation's fault: the engine is not there or refuses the model."""


class HeadError(ModelError):
    """The graph does not end in one linear layer over pooled features, so nothing can be fitted or explained."""


class CasesError(ModelError):
    """The reviewed cases, or a folder of labelled images, cannot be used as they are."""


class VersionError(ModelError):
    """A version of a bundle does not exist, or cannot take the place that was requested."""


class ImportRefusedError(ModelError):
    """The graph, its labels or the images do not fit each other or the service."""


class BuildError(ModelError):
    """The default bundle could not be made as it must be."""


class CheckpointError(BuildError):
    """The published weights are missing, are not the published ones, or ask for something that is not admitted."""


def shown(value: object) -> str:
    """Return a value as an error names it, however long it is."""
    try:
        return repr(value)[:SHOWN]
    except (ValueError, RecursionError):  # a number of thousands of digits is not written out
        return f"a {type(value).__name__} that is too long to show"
