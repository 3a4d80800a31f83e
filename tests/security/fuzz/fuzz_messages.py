"""Coverage-guided fuzzing of everything that is read from Redis; `make fuzz` runs it."""

import contextlib
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["wire"]):
    from wire import Answer, Delivery, Failure, Job, WorkerInfo
    from wire.consumer.triage import Acknowledgement, Entry, triage
    from wire.errors import MessageError
    from wire.messages import decode_reply, sender_of
    from wire.worker_registry import decode_labels, live_workers

MESSAGES = (Job, Answer, Failure, WorkerInfo)


def one_input(data: bytes) -> None:
    """A message that can be written and read again, or a MessageError with evidence."""
    for kind in MESSAGES:
        message = read(kind, data)
        if not isinstance(message, str):
            # Half letters become question marks on the way; the second time nothing changes any more.
            again = kind.decode(message.encode())
            assert kind.decode(again.encode()) == again
    verdict = triage(Entry(b"1-1", [b"job", data]), 2, 3)
    assert isinstance(verdict, Delivery | Acknowledgement)
    assert not isinstance(verdict, Delivery) or "/" not in verdict.job.image
    sender_of(data)
    decode_labels(data, "0" * 16)
    live_workers([b"one", data], 2)
    with contextlib.suppress(MessageError):
        decode_reply(data[:7], data[7:])


def read(kind: Any, data: bytes) -> Any:
    """The message, or the evidence against it."""
    try:
        return kind.decode(data)
    except MessageError as error:
        return error.evidence


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
