"""The queue at one look, as JSON: `python -m cli.queue_state`. What the doctor asks."""

import json
import sys

import settings
from wire.errors import QueueUnavailable
from wire.queue_stats import QueueSnapshot, QueueStats
from wire.redis.keys import Keys

PATIENCE_S = 2.0


def main() -> int:
    """Print the look, or why there is none."""
    stats = QueueStats(settings.queue_address(), Keys(settings.REDIS_QUEUE), lambda workers: 0, timeout_s=PATIENCE_S)
    try:
        said = _said(stats.refresh())
    except QueueUnavailable as fault:
        said = {"fault": str(fault)}
    finally:
        stats.close()
    sys.stdout.write(f"{json.dumps(said)}\n")
    return 0


def _said(state: QueueSnapshot) -> dict[str, object]:
    workers = [{"id": info.id, "served": f"{info.model}/{info.version}"} for info in state.workers]
    return {
        "depth": state.depth,
        "oldest_age_s": state.oldest_age_s,
        "trouble": state.startup_error,
        "workers": workers,
    }


if __name__ == "__main__":
    sys.exit(main())
