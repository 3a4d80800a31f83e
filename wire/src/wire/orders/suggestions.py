"""Unreported images to review: found by the trainer, shown by the api, gone once decided."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Final, NamedTuple, Self

from wire.codec import Fields, bytes_of
from wire.errors import MessageError
from wire.redis.address import Address
from wire.redis.connection import CALLER_TIMEOUT_S
from wire.redis.keys import Keys
from wire.redis.pipeline import Pipeline, Script
from wire.redis.resp import checked, pack

# Why an image is to be reviewed. The details of each reason are in `Suggestion.reasons`.
UNSURE: Final = "unsure"  # the active version gives its best class a low score; nothing
DISPUTED: Final = "disputed"  # the candidate answers otherwise; its class
UNLIKE: Final = "unlike"  # no image in training is like it; nothing
NEAR: Final = "near"  # it is like the cases of a class that was taught, and answered as another one; that class
REASONS: Final = (UNSURE, DISPUTED, UNLIKE, NEAR)

MAX_SUGGESTIONS: Final = 500
MAX_ENTRY_BYTES: Final = 4096
MAX_RANK: Final = 2**31
# Longer than a report waits for the disk; the claim of a process that was killed ends by itself.
CLAIMED_S: Final = 60
_ABOUT: Final = "about"
_REPLACE: Final = Script("replace_suggestions")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image by its SHA-256, the name that it is stored under, what `model` (<model>/<version>) answers, and why.

    `rank` is its place in the list: 0 for the first.
    """

    image: str
    filename: str
    prediction: str
    score: float
    model: str
    reasons: Mapping[str, str]
    rank: int

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return bytes_of({**fields, "reasons": dict(self.reasons)})

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the suggestion of bytes that `encode` returned; raise MessageError."""
        fields = Fields(data, MAX_ENTRY_BYTES)
        return cls(
            image=fields.token("image"),
            filename=fields.file_name("filename"),
            prediction=fields.text("prediction"),
            score=fields.number("score"),
            model=fields.text("model"),
            reasons={name: text for name, text in fields.texts("reasons").items() if name in REASONS},
            rank=fields.integer("rank", 0, MAX_RANK),
        )


@dataclass(frozen=True, slots=True)
class Search:
    """How a list came about: when (seconds since 1970), among how many images, with which versions.

    `notes` lists the reasons that could not be searched, and why.
    """

    at_s: int
    looked_at: int
    model: str
    candidate: str = ""
    notes: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the bytes that are kept."""
        return bytes_of(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the search of bytes that `encode` returned; raise MessageError."""
        fields = Fields(data, MAX_ENTRY_BYTES)
        return cls(
            at_s=fields.integer("at_s", 0, 2**63),
            looked_at=fields.integer("looked_at", 0, MAX_RANK),
            model=fields.text("model"),
            candidate=fields.text("candidate", default=""),
            notes=fields.texts("notes"),
        )


class Suggested(NamedTuple):
    """The list in its order, and how it came about: None before the first search."""

    suggestions: Sequence[Suggestion]
    search: Search | None


class Suggestions:
    """The list of one queue; every method raises QueueUnavailable where Redis does not serve."""

    def __init__(self, address: Address, queue: str, timeout_s: float = CALLER_TIMEOUT_S) -> None:
        self._pipeline = Pipeline.to(address)
        self._key = Keys(queue).suggestions
        self._timeout_s = timeout_s

    def replace(self, suggestions: Sequence[Suggestion], search: Search) -> None:
        """Put these, MAX_SUGGESTIONS at most, in the place of all that were there."""
        words: list[str | bytes | int] = [1, self._key, _ABOUT, search.encode()]
        for each in suggestions[:MAX_SUGGESTIONS]:
            words += [each.image, each.encode()]
        [reply] = self._pipeline.run(_REPLACE, [tuple(words)], self._timeout_s)
        checked(reply)

    def read(self) -> Suggested:
        """Return the list."""
        pairs = checked(self._pipeline.exchange(pack("HGETALL", self._key), 1, self._timeout_s)[0])
        entries: dict[bytes, bytes] = dict(zip(pairs[::2], pairs[1::2], strict=True))
        about, search = entries.pop(_ABOUT.encode(), None), None
        with suppress(MessageError):
            search = None if about is None else Search.decode(about)
        return Suggested(sorted(_readable(entries.values()), key=lambda each: each.rank), search)

    def find(self, images: Sequence[str]) -> dict[str, Suggestion]:
        """Return those of these images that are on the list, by image."""
        packet = b"".join(pack("HGET", self._key, image) for image in images)
        replies = map(checked, self._pipeline.exchange(packet, len(images), self._timeout_s))
        return {each.image: each for each in _readable([reply for reply in replies if reply is not None])}

    def claim(self, images: Sequence[str]) -> set[str]:
        """Return those of these images that the caller alone may report, until `release` or for CLAIMED_S seconds."""
        if not images:
            return set()
        # It is read again, since commands may run twice.
        mine = uuid.uuid4().hex
        claims = [self._claim(image) for image in images]
        packet = b"".join(pack("SET", key, mine, "NX", "EX", CLAIMED_S) + pack("GET", key) for key in claims)
        replies = [checked(reply) for reply in self._pipeline.exchange(packet, 2 * len(images), self._timeout_s)]
        return {image for image, owner in zip(images, replies[1::2], strict=True) if owner == mine.encode()}

    def release(self, images: Collection[str]) -> None:
        """Let others claim these images."""
        if images:
            checked(self._pipeline.exchange(pack("DEL", *map(self._claim, images)), 1, self._timeout_s)[0])

    def _claim(self, image: str) -> str:
        return f"{self._key}:claimed:{image}"

    def remove(self, images: Collection[str]) -> None:
        """Take images off the list."""
        if images:
            checked(self._pipeline.exchange(pack("HDEL", self._key, *images), 1, self._timeout_s)[0])


def _readable(entries: Iterable[bytes]) -> list[Suggestion]:
    """Return the entries without those that cannot be read, such as those of a later release."""
    found = []
    for data in entries:
        with suppress(MessageError):
            found.append(Suggestion.decode(data))
    return found
