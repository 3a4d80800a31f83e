"""The errors of storage/, with one root; the api chooses the HTTP status of each, a worker the code of its failure."""


class StorageError(Exception):
    """Root of everything that storage/ raises on purpose."""


class StorageFull(StorageError):  # noqa: N818  the name says what happened
    """There is no room for what was to be stored."""


class ImageMissing(StorageError):  # noqa: N818  as above
    """There is no image of that name, or what has its name cannot be read."""


class ImageTooLarge(StorageError):  # noqa: N818  as above
    """The image has more bytes than the reader takes."""


class ReportsFull(StorageFull):
    """There are as many reports as are allowed."""


class StorageStuck(StorageError):  # noqa: N818  as above
    """A disk, or the holder of a lock, did not answer in time; the work may still be done later."""


class IndexUnfinished(StorageStuck):
    """The index of the reports is being made; the next use continues where this one stopped."""


class DatabaseUnavailable(StorageError):  # noqa: N818  as above
    """The database cannot be reached, or did not answer in time; what was to be kept may be there all the same."""


class SchemaMismatch(StorageError):  # noqa: N818  as above
    """The database has the tables of another version."""


class KeyReused(StorageError):  # noqa: N818  as above
    """Another report came under the same Idempotency-Key before."""


class DecidedMeanwhile(StorageError):  # noqa: N818  as above
    """Another decision about the report counts since the reviewer has loaded it."""

    def __init__(self, status: str, label: str, reviewer: str) -> None:
        super().__init__(f"the report was {status} by {reviewer}")
        self.status = status
        self.label = label
        self.reviewer = reviewer


class StorageUnavailable(StorageError):  # noqa: N818  as above
    """The store is unavailable, now or with these settings; the text is the reason, for the log.

    `advice` is the part of it that anyone may read.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.advice = advice
