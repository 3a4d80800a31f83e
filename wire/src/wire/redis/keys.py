"""Names in Redis: every key, group and stream field of one queue, and what entry ids and the reply of TIME hold."""

from __future__ import annotations

from collections.abc import Sequence

from wire.process.limits import NAME_FORM, is_token

GROUP = "workers"
JOB_FIELD = "job"
# Much longer than any request waits; after that, the replies of a process that has ended are not needed.
REPLIES_KEPT_S = 120
_OF_ONE_JOB = "job-"


def job_replies(job_id: str) -> str:
    """Return the name of the reply stream of one job that no one waits for."""
    return f"{_OF_ONE_JOB}{job_id}"


def is_of_one_job(reply_to: str) -> bool:
    """Return whether a reply stream is that of one job: made when the job is enqueued, gone once it is cancelled."""
    return reply_to.startswith(_OF_ONE_JOB)


class Keys:
    """The keys of one queue; they share one hash tag, so that on a Redis Cluster all of them live on one node."""

    def __init__(self, queue: str) -> None:
        if not is_token(queue):
            raise ValueError(f"queue name {queue!r} is not {NAME_FORM}")
        self._tag = "{" + queue + "}"
        self.jobs = f"{self._tag}:jobs"
        self.expensive = f"{self._tag}:expensive"
        self.owed = f"{self._tag}:expensive:owed"
        # What the entries of each job stream cost beyond one usual job each, in milliseconds.
        self.weights = {stream: f"{stream}:weights_ms" for stream in (self.jobs, self.expensive)}
        # Whose the entries of each job stream are.
        self.clients = {stream: f"{stream}:clients" for stream in (self.jobs, self.expensive)}
        self.dead = f"{self._tag}:dead"
        self.workers = f"{self._tag}:workers"
        self.claim = f"{self._tag}:workers:claim"
        self.job_index = f"{self._tag}:ledger"
        self.job_index_periods = f"{self.job_index}:periods"
        self.startup_error = f"{self._tag}:trouble"
        self.rates = f"{self._tag}:rate:clients"
        # What the operator orders of the trainer; what came of each; how far the running one is; who the trainer is;
        # the versions that it has; and the images that it suggests for review.
        self.orders = f"{self._tag}:orders"
        self.order_outcomes = f"{self.orders}:outcomes"
        self.running_order = f"{self.orders}:running"
        self.trainer = f"{self.orders}:trainer"
        self.versions = f"{self.orders}:versions"
        self.suggestions = f"{self.orders}:suggestions"
        self.last_search = f"{self.orders}:searched"
        # A slot of the result cache is this and its number.
        self.answer = f"{self._tag}:answer:"

    def replies(self, process: str) -> str:
        """Return the reply stream of one api process."""
        return f"{self._tag}:replies:{process}"

    def labels(self, digest: str) -> str:
        """Return the key that holds one list of labels."""
        return f"{self._tag}:labels:{digest}"


def time_ms(reply: Sequence[bytes]) -> int:
    """Return the milliseconds of a reply of TIME, the only wall clock that the queue knows."""
    seconds, microseconds = reply
    return int(seconds) * 1000 + int(microseconds) // 1000


def entry_ms(entry_id: bytes) -> int:
    """Return the moment at which Redis added a stream entry, in milliseconds of its clock."""
    return int(entry_id.partition(b"-")[0])


def after(entry_id: bytes) -> str:
    """Return the smallest entry id above this one."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return f"{int(milliseconds)}-{int(sequence) + 1}"
