"""Print the state of what hosts share as JSON, for the doctor: `python -m cli.store_state`.

A list of {"subject", "said"} for what is well, with "fault", the error's "kind", and "advice" for what is not.
"""

import json
import sys
from collections.abc import Callable, Iterator

import ml_service
import settings
from cli import command
from inference.errors import ModelError
from serving import stored_images
from storage import s3
from storage.errors import StorageError
from storage.images.bucket import IMAGES
from storage.images.lifecycle import Lifecycle
from wire.redis.address import hidden

# A person waits for this.
DATABASE_TIMEOUT_S = 5.0


def main() -> int:
    """Print what there is to say."""
    command.say(json.dumps(list(_states())))
    return 0


def _states() -> Iterator[dict[str, str]]:
    if settings.IMAGE_STORE:
        yield _state("images", _images)
        if settings.S3_ACCESS_KEY_ID:
            yield _state("image expiry", _expiry)
    if settings.MODEL_STORE:
        yield _state("shared models", _models)
    if settings.IMAGE_STORE or settings.MODEL_STORE:
        yield _clock()
    if settings.DATABASE_URL:
        yield _state("database", _database)
    if settings.queue_address().sentinels is not None:
        yield from _sentinels()


def _state(subject: str, look: Callable[[], str]) -> dict[str, str]:
    try:
        return {"subject": subject, "said": look()}
    except (StorageError, ModelError, ImportError) as error:
        state = {"subject": subject, "fault": str(error), "kind": type(error).__name__}
        return state | {"advice": getattr(error, "advice", "")}


def _images() -> str:
    images = stored_images.open_store()
    images.check_writable()
    return f"{images} takes images"


def _expiry() -> str:
    days = Lifecycle(settings.IMAGE_STORE, s3.server_of(settings)).days(IMAGES)
    return f"{days} days after an image was sent last" if days else ""


def _models() -> str:
    store = ml_service.model_store()
    versions = [] if store is None else store.versions()
    return f"{settings.MODEL_STORE} has {', '.join(versions) or 'no version'}"


def _clock() -> dict[str, str]:
    ahead_s = s3.clock_ahead_s(s3.server_of(settings))
    state = {"subject": "clock of S3", "said": "it and this machine's agree"}
    if ahead_s is None:
        return state | {"said": "the server's answer has no date"}
    is_far = abs(ahead_s) > s3.MAX_SKEW_S
    return state | ({"fault": s3.skew(ahead_s), "kind": "skew"} if is_far else {})


def _database() -> str:
    from storage.reports.postgres import schema  # noqa: PLC0415  only for those who have a database
    from storage.reports.postgres.database import Database  # noqa: PLC0415  as above

    database = Database(settings.DATABASE_URL, 1, DATABASE_TIMEOUT_S)
    database.check_schema()
    database.close()
    where = hidden(settings.DATABASE_URL).partition("?")[0]
    return f"{where} has the tables of this version ({schema.REVISION})"


def _sentinels() -> Iterator[dict[str, str]]:
    from wire.redis import sentinels  # noqa: PLC0415  for those who use them

    for place, report in sentinels.ask_each(settings.queue_address()):
        state = {"subject": "sentinel", "place": str(place)}
        yield state | ({"fault": report.fault} if report.fault else {"said": str(report.place)})


if __name__ == "__main__":
    sys.exit(main())
