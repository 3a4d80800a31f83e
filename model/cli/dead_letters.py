"""Show, repeat or drop the jobs that workers gave up: `python -m cli.dead_letters list|replay|drop [ID ...]`.

A job becomes a dead letter when workers died of it again and again, or when it could not be read. Its image is still
stored: `replay` submits it again, for example after a decoder was repaired, and drops the letter once answered.
"""

import argparse
import sys
from datetime import UTC, datetime

import settings
from cli import command
from wire import DeadLetters, Producer, WireError
from wire.dead_letters import DeadLetter

MOST = 1000
REPLAY_TIMEOUT_S = 60.0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 1 where something is not done."""
    options = _parser().parse_args(arguments)
    letters = DeadLetters(settings.queue_address(), settings.REDIS_QUEUE)
    try:
        found = _chosen(letters.newest(MOST), options.ids)
        if options.action == "replay":
            return _replay(letters, found, options.timeout)
        if options.action == "drop":
            letters.drop(found)
            command.say(f"{len(found)} dead letters dropped")
        else:
            command.say(*map(_line, found), f"{len(found)} dead letters")
        return 0
    except (WireError, LookupError) as fault:
        command.warn(str(fault))
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument("action", choices=("list", "replay", "drop"))
    parser.add_argument("ids", nargs="*", metavar="ID", help="which letters (default: all)")
    parser.add_argument(
        "--timeout", type=float, default=REPLAY_TIMEOUT_S, metavar="S", help="for each replay (default: %(default)s)"
    )
    return parser


def _chosen(letters: list[DeadLetter], ids: list[str]) -> list[DeadLetter]:
    if unknown := set(ids) - {letter.id for letter in letters}:
        message = f"there is no dead letter {', '.join(sorted(unknown))}; `list` shows those there are"
        raise LookupError(message)
    return [letter for letter in reversed(letters) if not ids or letter.id in ids]


def _line(letter: DeadLetter) -> str:
    moment = datetime.fromtimestamp(letter.at_ms / 1000, UTC).isoformat(timespec="seconds")
    what = f"image {letter.job.image}" if letter.job is not None else f"evidence {letter.evidence}"
    return f"{letter.id}  {moment}  {letter.reason}  {letter.deliveries} deliveries, last to {letter.worker}  {what}"


def _replay(letters: DeadLetters, found: list[DeadLetter], timeout_s: float) -> int:
    producer = Producer(settings.queue_address(), settings.REDIS_QUEUE, timeout_s=timeout_s)
    try:
        return max([_replay_one(letters, letter, producer, timeout_s) for letter in found], default=0)
    finally:
        producer.close()


def _replay_one(letters: DeadLetters, letter: DeadLetter, producer: Producer, timeout_s: float) -> int:
    try:
        answer = letters.replay(letter, producer, timeout_s=timeout_s)
    except (WireError, ValueError) as fault:
        command.say(f"{letter.id}  stays: {fault}")
        return 1
    label, score = answer.predictions[0]
    command.say(f"{letter.id}  answered: {label} {score:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
