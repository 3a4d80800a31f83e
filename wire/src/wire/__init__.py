"""What api and model agree on, byte for byte: messages, errors, the queue, and which workers are alive.

The names of `__all__` are loaded when they are first used: gunicorn's master and the doctor import the parser of
settings (wire.settings_parser), and nothing else of wire.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wire.async_jobs import AsyncJobs
    from wire.consumer.consumer import Consumer
    from wire.consumer.triage import Delivery
    from wire.dead_letters import DeadLetters
    from wire.errors import QueueFull, QueueUnavailable, WireError
    from wire.messages import ActivationMap, Answer, Failure, Job, JobFailed
    from wire.producer.producer import Producer
    from wire.queue_stats import QueueSnapshot
    from wire.rate_limit import RateLimiter
    from wire.redis.address import Address
    from wire.result_cache import ResultCache
    from wire.worker_registry import Heartbeat, WorkerInfo

# The version of Sightline. The client is a distribution of its own and repeats it; a test compares the two.
__version__ = "0.1.0"
__all__ = [
    "ActivationMap", "Address", "Answer", "AsyncJobs", "Consumer", "DeadLetters", "Delivery", "Failure", "Heartbeat",
    "Job", "JobFailed", "Producer", "QueueFull", "QueueSnapshot", "QueueUnavailable", "RateLimiter", "ResultCache",
    "WireError", "WorkerInfo", "__version__",
]  # fmt: skip
_HOMES = {
    "async_jobs": ["AsyncJobs"],
    "consumer.consumer": ["Consumer"],
    "consumer.triage": ["Delivery"],
    "dead_letters": ["DeadLetters"],
    "errors": ["QueueFull", "QueueUnavailable", "WireError"],
    "messages": ["ActivationMap", "Answer", "Failure", "Job", "JobFailed"],
    "producer.producer": ["Producer"],
    "queue_stats": ["QueueSnapshot"],
    "rate_limit": ["RateLimiter"],
    "redis.address": ["Address"],
    "result_cache": ["ResultCache"],
    "worker_registry": ["Heartbeat", "WorkerInfo"],
}


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415  not before anything of it is used

    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"wire.{home}"), name)
            return value
    raise AttributeError(f"module 'wire' has no attribute {name!r}")
