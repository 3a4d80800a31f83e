"""Broken images through the whole service: no answer but an image's or a refusal's, and no process falls over."""

import collections

import pytest

from sightline_testing.faults.system import processes
from sightline_testing.hostile.asking import Sender, memory_watched
from sightline_testing.hostile.measured import Measured
from sightline_testing.hostile.mutants import mutant
from sightline_testing.sample_images import good

THREADS = 16
CODES = {None, "unsupported_type", "image_broken", "image_too_large", "too_large"}
STATUSES = {200, 400, 413, 415, 422}
MAX_EXTRA_MIB = 300
SLOWEST_S = 2.0
# Others than those that go to the decoder alone.
SEED = 2


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "body"])
def test_thousands_of_mutants_are_answered_or_refused(
    sender: Sender, launcher_pid: int, measured: Measured, as_form: bool, is_full: bool
) -> None:
    count = 50_000 if is_full else 1_000
    before = processes(launcher_pid)
    with memory_watched(launcher_pid) as growth:
        mutants = (mutant(number, seed=SEED + as_form) for number in range(count))
        replies = list(sender.send_all(mutants, THREADS, as_form=as_form))
    assert len(replies) == count
    assert {reply.status for reply in replies} <= STATUSES
    codes = {reply.problem.get("code") for reply in replies if reply.status not in {200, 400}}
    assert codes <= CODES
    counted = collections.Counter(reply.status for reply in replies)
    # Else these would be no mutants.
    assert counted[200] > count / 50
    assert counted[422] > count / 10
    assert processes(launcher_pid) == before, "a process was started again"
    slowest = max(reply.seconds for reply in replies)
    told = f"{count}: {dict(counted)}, slowest {slowest:.3f} s, {growth.largest:.0f} MiB more"
    measured.told[f"mutants, over HTTP as {'forms' if as_form else 'bodies'}"] = told
    assert growth.largest < MAX_EXTRA_MIB, growth
    assert not is_full or slowest < SLOWEST_S


def test_a_good_image_is_answered_after_all_that(sender: Sender) -> None:
    reply = sender.send(good("baseline.jpg").content)
    assert (reply.status, reply.problem["prediction"]) == (200, "analog_clock")
