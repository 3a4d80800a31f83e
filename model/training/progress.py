"""How long work reports progress."""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Passes items through unchanged and shows how many of `count` are done; `what` names them."""

    def __call__(self, what: str, count: int, items: Iterable[Item], /) -> Iterator[Item]: ...  # noqa: D102


def silent(_what: str, _count: int, items: Iterable[Item]) -> Iterator[Item]:
    """Show nothing."""
    return iter(items)
