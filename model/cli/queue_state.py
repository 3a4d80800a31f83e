"""Print the state of the queue as JSON, for the doctor: `python -m cli.queue_state`."""

import json
import sys

from cli import command
from wire import QueueSnapshot, QueueUnavailable


def main() -> int:
    """Print the state, or why there is none."""
    try:
        found = _table(command.queue_state())
    except QueueUnavailable as fault:
        found = {"fault": str(fault)}
    command.say(json.dumps(found))
    return 0


def _table(state: QueueSnapshot) -> dict[str, object]:
    workers = [{"id": info.id, "served": f"{info.model}/{info.version}"} for info in state.workers]
    return {
        "depth": state.depth,
        "oldest_age_s": state.oldest_age_s,
        "trouble": state.startup_error,
        "workers": workers,
    }


if __name__ == "__main__":
    sys.exit(main())
