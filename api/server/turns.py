"""Turns on the event loop: a connection that always has something to do lets the others go on in between.

A socket that has data never blocks, and gevent switches only where something blocks. Without turns, a client that sends
faster than the service works would be the only one that is served.
"""

import gevent


class Turns:
    """The pieces of work that one connection may do in each pass of the event loop."""

    def __init__(self, share: int) -> None:
        self._loop = gevent.get_hub().loop
        self._share = share
        self._pass = -1
        self._taken = 0

    def take(self) -> None:
        """Begin a piece of work; wait for the next pass first where the share of this one is used up."""
        if self._pass == self._loop.iteration and self._taken >= self._share:
            _wait_for_next_pass()
        if self._pass != self._loop.iteration:
            self._pass, self._taken = self._loop.iteration, 0
        self._taken += 1

    def pause(self, seconds: float) -> None:
        """Leave the loop to the others for so long."""
        gevent.sleep(seconds)


def _wait_for_next_pass() -> None:
    """Wait until every socket was looked at once; gevent.sleep(0) would come back before that."""
    hub = gevent.get_hub()
    with hub.loop.timer(0) as timer:
        hub.wait(timer)
