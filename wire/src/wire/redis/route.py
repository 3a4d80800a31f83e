"""Which server of an address to connect to; every connection to Redis itself is opened here."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable

from wire.redis.address import Address, Place
from wire.redis.faults import RedisRefusal, WrongServer
from wire.redis.link import Link


class Route:
    """The way to the Redis of an address, one for each address and process: see wire.redis.routes.

    It leads to the nodes in turn, or to the one that a node of a cluster named.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._turn = 0
        self._moved_to: Place | None = None
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()

    def open(self, name: str, until: float) -> Link:
        """Connect before `until` (monotonic) under this name; raise OSError or RedisRefusal."""
        for left in range(len(self._address.places) + (self._moved_to is not None), 0, -1):
            place = self.place(until)
            try:
                link = Link(self._address, place, name, time.monotonic() + (until - time.monotonic()) / left)
            except (OSError, RedisRefusal) as error:
                self.leave(place, error)
                fault = error
            else:
                self._links.add(link)
                return link
        raise fault

    def place(self, until: float) -> Place:
        """Return where to connect to now; raise OSError where that is not known."""
        return self._moved_to or self._place()

    def leave(self, place: Place, fault: BaseException) -> None:
        """Note a failed command at an address; end the other connections to it where none is of use."""
        if isinstance(fault, WrongServer) and fault.moved_to:
            host, _, port = fault.moved_to.rpartition(":")
            self._moved_to = Place(host.strip("[]") or place.host, int(port))
        elif place == self._moved_to:
            self._moved_to = None
        elif place == self._place():  # or another connection has left it before
            self._turn += 1
        if isinstance(fault, WrongServer) and fault.is_for_others:
            self.end_links(lambda link: link.place == place)

    def _place(self) -> Place:
        places = self._address.places
        return places[self._turn % len(places)]

    def end_links(self, is_meant: Callable[[Link], bool]) -> None:
        """Shut the affected connections down; their users open new ones."""
        for link in list(self._links):
            if is_meant(link):
                link.shutdown()
