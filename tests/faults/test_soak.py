"""Twenty minutes of work with bad images and kills: nothing grows."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from sightline_testing.faults.figures import Figure
from sightline_testing.faults.keeper import Keeper, Scale
from sightline_testing.faults.ledger import Outcome
from sightline_testing.faults.leftovers import Holdings, held_by_one, nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.questions import Question
from sightline_testing.faults.rates import peak_rate
from sightline_testing.faults.system import System, sleep_until
from sightline_testing.sample_images import bad

# Its twin has a short one.
SECONDS = (20.0, 1200.0)
WARM_UP_S = (5.0, 300.0)
LOOK_EVERY_S = (0.5, 5.0)
KILL_EVERY_S = (10.0, 60.0)
PEAK_S = (3.0, 15.0)
SHARE_OF_PEAK = 0.7
SHARE_OF_BAD = 0.01
MAX_MB_AN_HOUR = 5.0
# Fewer than kills in half the time: what one of them leaves behind would show.
MAX_MORE_FILES = 4
MAX_MORE_THREADS = 1
BAD_NAMES = ("truncated.jpg", "truncated_progressive.jpg", "header_only.jpg")


@dataclass
class Watched:
    """What one process held, look after look."""

    name: str
    times: list[float] = field(default_factory=list)
    looks: list[Holdings] = field(default_factory=list)

    def slope_mb_an_hour(self) -> float:
        """How fast its memory grew, by least squares."""
        mean_s = sum(self.times) / len(self.times)
        mean_mb = sum(look.memory_mb for look in self.looks) / len(self.looks)
        apart = sum((at - mean_s) ** 2 for at in self.times)
        pairs = zip(self.times, self.looks, strict=True)
        return 3600 * sum((at - mean_s) * (look.memory_mb - mean_mb) for at, look in pairs) / apart

    def course(self) -> str:
        """Its memory at five moments: whether it grew slowly or suddenly."""
        last = len(self.looks) - 1
        return f"{self.name} {', '.join(f'{self.looks[last * part // 4].memory_mb:.1f}' for part in range(5))} MB"

    def growth(self, kind: str) -> int:
        """By how much the least number of these in the second half is above that in the first.

        Connections come and go with the load; what is never let go stays under them.
        """
        numbers: list[int] = [getattr(look, kind) for look in self.looks]
        middle = len(numbers) // 2
        return min(numbers[middle:]) - min(numbers[:middle])

    def figures(self) -> list[Figure]:
        """What must not grow."""
        return [
            Figure(f"memory of {self.name}", self.slope_mb_an_hour(), "MB/h", most=MAX_MB_AN_HOUR),
            Figure(f"open files of {self.name} more by", self.growth("files"), "files", most=MAX_MORE_FILES),
            Figure(f"threads of {self.name} more by", self.growth("threads"), "threads", most=MAX_MORE_THREADS),
        ]


@pytest.mark.full
def test_nothing_grows_in_twenty_minutes_of_work_with_bad_images_and_kills(keeper: Keeper, scale: Scale) -> None:
    system = keeper.give({})
    rate = SHARE_OF_PEAK * peak_rate(system, scale.of(*PEAK_S))
    broken = [Question(bad(name).content, "") for name in BAD_NAMES]
    with nothing_left_over(system):
        with (
            Load(system.url, system.asked, rate=rate) as load,
            Load(system.url, broken, rate=rate * SHARE_OF_BAD) as bad_load,
        ):
            watched = list(watch(system, scale))
        figures = [figure for each in watched for figure in each.figures()]
        courses = "; ".join(each.course() for each in watched)
        scale.judge(f"soak at {rate:.0f}/s", *figures, note=f"{load.ledger}; bad: {bad_load.ledger}; {courses}")
    # While a killed worker is away, the other may have more to do than it can.
    assert load.ledger.count(Outcome.RIGHT, Outcome.REFUSED) == len(load.ledger.entries), load.ledger
    assert set(bad_load.ledger.counts()) <= {"failed image_broken", "refused queue_full"}, bad_load.ledger.counts()


def watch(system: System, scale: Scale) -> Iterator[Watched]:
    """Kill the same worker each minute, and look at every process that lives from the beginning to the end."""
    seconds, warm_up_s, look_every_s, kill_every_s = (
        scale.of(*each) for each in (SECONDS, WARM_UP_S, LOOK_EVERY_S, KILL_EVERY_S)
    )
    begin = time.monotonic()
    staying = {system.pids("redis-server")[0]: Watched("Redis"), system.api_pids()[0]: Watched("api")}
    staying[system.worker_pids()[0]] = Watched("worker")
    kill_at = begin + kill_every_s
    for look in itertools.count(1):
        sleep_until(begin + look * look_every_s)
        now = time.monotonic()
        if now > begin + seconds:
            break
        if now > kill_at:
            kill_at += kill_every_s
            system.kill(next(pid for pid in system.worker_pids() if pid not in staying))
        if now > begin + warm_up_s:
            for pid, watched in staying.items():
                found = held_by_one(pid)
                assert found is not None, f"{watched.name} has ended"
                watched.times.append(now)
                watched.looks.append(found)
    yield from staying.values()
