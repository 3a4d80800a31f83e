"""`python -m trainer.execute ORDER ATTEMPT TRAINER NOTE`: do one order, by the code of the commands.

`--versions` publishes which versions there are, `--give-up …` records that an order is given up. The process
ends with the trainer that has started it, for any cause.
"""

import settings
from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority(settings.COMMAND_NICENESS)  # before the other imports, which alone take most of a second

import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import ml_service
from cli import command
from inference.errors import ModelError
from storage.errors import StorageError
from trainer import audit, version_list
from trainer.reporting import Reporter, typical_s
from wire.errors import MessageError, QueueUnavailable
from wire.orders.messages import DONE, FAILED, IMPORT, MAX_ATTEMPTS, Order, Outcome, Progress
from wire.orders.trainer_desk import TrainerDesk

log = logging.getLogger("trainer")

# Redis may restart while an outcome is to be kept; the trainer renews its lease then.
KEEP_ATTEMPTS, KEEP_PAUSE_S = 30, 1.0
# The memory that this process may use for an uploaded network. A kernel without such a limit ignores it.
MAX_IMPORT_BYTES, MAX_IMPORT_CPU_S = 4 * 1024**3, 600


def main(arguments: list[str]) -> int:
    """Run; return the exit status."""
    logging.basicConfig(level=settings.LOG_LEVEL.upper(), format=ml_service.PLAIN_LOG)
    threading.Thread(target=_end_with_the_trainer, name="lifeline", daemon=True).start()
    if arguments == ["--versions"]:
        _publish_versions(_desk("versions"))
        return os.EX_OK
    is_given_up = arguments[0] == "--give-up"
    order_id, attempt, trainer, note = arguments[is_given_up:]
    desk = _desk(trainer)
    try:
        order = desk.find(order_id)
    except MessageError as fault:
        log.error("order %s cannot be read: %s", order_id, fault)
        return os.EX_DATAERR
    if is_given_up:
        outcome = Outcome(FAILED, reason=f"it was interrupted {MAX_ATTEMPTS} times; the log of the trainer has more")
    else:
        if order.kind == IMPORT:
            _limit_this_process()
        begun = Progress(order_id, int(attempt), note=note)
        outcome = _outcome(order, Reporter(desk, begun, typical_s(order, desk.last_results())))
    _publish_versions(desk)
    # First: a process that is killed in between leaves two rows of an order rather than none.
    audit.add_outcome(order, outcome)
    return os.EX_OK if _keep(desk, order_id, outcome) else os.EX_TEMPFAIL


def _limit_this_process() -> None:
    """Have the kernel refuse memory beyond a bound, and end this process at a bound of its time."""
    for kind, limit in ((resource.RLIMIT_DATA, MAX_IMPORT_BYTES), (resource.RLIMIT_CPU, MAX_IMPORT_CPU_S)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _outcome(order: Order, reporter: Reporter) -> Outcome:
    """Run an order; any error is its outcome."""
    from trainer import tasks  # noqa: PLC0415  with the engine, which the list of versions needs not

    try:
        with command.told_to(reporter):
            tasks.prepare()
            result: Mapping[str, Any] = tasks.TASKS[order.kind](order, reporter)
    except tasks.OrderRefused as refusal:
        return Outcome(FAILED, reason=str(refusal), result=refusal.result)
    except (ModelError, StorageError, QueueUnavailable, OSError) as fault:
        return Outcome(FAILED, reason=str(fault), result=reporter.summary())
    except SystemExit as fault:  # of a command's parser, which has printed why
        return Outcome(FAILED, reason=f"the command refused its arguments ({fault})", result=reporter.summary())
    except Exception as fault:
        # The edge of the process: an order that meets a fault of ours fails, and is not tried again.
        log.exception("order %s failed", order.id)
        return Outcome(FAILED, reason=f"an internal fault, {type(fault).__name__}; the log of the trainer has more")
    return Outcome(DONE, result={**result, **reporter.summary()})


def _keep(desk: TrainerDesk, order_id: str, outcome: Outcome) -> bool:
    """Keep an outcome; return False where that cannot be done, as when another trainer has taken the order up."""
    for _ in range(KEEP_ATTEMPTS):
        try:
            if desk.finish(order_id, outcome):
                return True
        except QueueUnavailable as fault:
            log.warning("order %s: its outcome is not kept yet: %s", order_id, fault)
        time.sleep(KEEP_PAUSE_S)
    return False


def _publish_versions(desk: TrainerDesk) -> None:
    try:
        desk.publish_versions(version_list.versions_of(settings.bundles_folder()))
    except QueueUnavailable as fault:
        log.warning("the versions are not published: %s", fault)


def _desk(trainer: str) -> TrainerDesk:
    return TrainerDesk(settings.queue_address(), settings.REDIS_QUEUE, trainer)


def _end_with_the_trainer() -> None:
    """Wait for the end of the pipe that only the trainer holds open; what is half done is nowhere to be seen."""
    while os.read(0, 1):
        pass
    os._exit(os.EX_TEMPFAIL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
