"""The order in which one process works on images: those that find no room are refused before others are read.

Reading, hashing and storing an image takes several times as long as refusing one. If a pass of the event loop did that
for all images that have arrived, those that came meanwhile would wait for it, only to be refused. When a flood begins,
that would be one image in a hundred, and it would wait until the queue is full.
"""

from typing import Final

import gevent
from gevent.lock import Semaphore

# Started in a pass of the event loop; and one more for so many refusals in it.
IMAGES_PER_PASS: Final = 4
REFUSALS_PER_IMAGE: Final = 16


class ReadTurns:
    """Lets IMAGES_PER_PASS images begin to be read in each pass of the event loop, in the order of their arrival.

    `waiting` is the number of those whose turn has not come yet. No client can prolong that: they wait for this process
    only.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self._loop = gevent.get_hub().loop
        self._pass = -1
        self._begun = 0
        self._refused = 0
        self._turns = Semaphore(0)

    def take(self) -> None:
        """Return when the image of the calling greenlet is to be read."""
        if self._pass != self._loop.iteration:
            self._pass, self._begun = self._loop.iteration, 0
        if not self.waiting and self._begun < IMAGES_PER_PASS:
            self._begun += 1
            return
        self.waiting += 1
        if self.waiting == 1:
            gevent.spawn(self._give_turns)
        self._turns.acquire()

    def note_refusal(self) -> None:
        """Count an image that was refused: however many are, the others are read."""
        self._refused += 1

    def _give_turns(self) -> None:
        while self.waiting:
            # Until every socket was polled once, so that what has arrived is refused first.
            with self._loop.timer(0) as timer:
                gevent.get_hub().wait(timer)
            count = min(self.waiting, IMAGES_PER_PASS + self._refused // REFUSALS_PER_IMAGE)
            self._refused = 0
            self.waiting -= count
            for _ in range(count):
                self._turns.release()
