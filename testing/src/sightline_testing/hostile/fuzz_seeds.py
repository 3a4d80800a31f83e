"""What each target of `make fuzz` begins with."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sightline_testing.hostile import mutants, payloads, requests
from wire import ActivationMap, Answer, Failure, Job, WorkerInfo

MAX_BYTES = 32_000
MUTANTS = 200


def decode() -> Iterator[bytes]:
    """Images, whole and broken."""
    yield from mutants.seeds().values()
    yield from map(mutants.mutant, range(MUTANTS))


def messages() -> Iterator[bytes]:
    """One message of each kind."""
    yield Job("1", "a.jpg", "2-3", 5000, 5, "00-" + "a" * 32 + "-" + "b" * 16 + "-01").encode()
    yield Answer("1", (("tabby", 0.5),), "net", "1", {"queue": 1.5}).encode()
    seen = ActivationMap("tabby", 1, 2, (0.5, -1.5), (640, 480), (80, 0, 560, 480))
    yield Answer("2", (("tabby", 0.5),), "net", "1", {}, seen).encode()
    yield Job("3", "a.jpg", "2-3", 5000, explain_rank=1, explain_label="tabby").encode()
    yield Failure("1", "image_broken", "why").encode()
    yield WorkerInfo("host:1:2", "host", "net", "1", "6f1d", "90ab", 2, 8, 100.5, 1).encode()


def edge() -> Iterator[bytes]:
    """Forms after their boundary, tensors after the length of their JSON, reports and keys."""
    for name, attack in requests.FORMS.items():
        if "MB" not in name:
            yield b"limit\n" + attack.make().partition(b"\r\n\r\n")[2][:MAX_BYTES]
    yield from _tensors()
    reports = [f"{{'filename': 'a.jpg', 'prediction': {text!r}, 'score': 0.5}}" for text in payloads.MARKUP]
    for text in (*reports, "alice " + "0" * 64 + " 60/minute\n", *payloads.FORGERIES):
        yield text.encode("utf-8", "replace")


def _tensors() -> Iterator[bytes]:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    outputs = [{"name": "label", "parameters": {"classification": 5}}]
    more = {"id": "7", "parameters": {"timeout": 1}, "outputs": outputs}
    yield b"\n" + json.dumps({"inputs": [tensor | {"data": ["/9j/4A=="]}], **more}).encode()
    yield b"\n" + json.dumps({"inputs": [tensor | {"data": ["/9j/4A=="]}], "parameters": {"timeout": 10**400}}).encode()
    yield b"9" * 5_000 + b"\n{}"
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": 7}}], **more}).encode()
    yield f"{len(head)}\n".encode() + head + b"\3\0\0\0\xff\xd8\xff"


TARGETS = {"decode": decode, "messages": messages, "edge": edge}
# Whose modules a target takes; messages are everybody's.
ROOTS = {"decode": "model", "messages": "wire", "edge": "api"}
