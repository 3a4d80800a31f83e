"""Print the state of the queue and the chosen engine as JSON, for the doctor: `python -m cli.queue_state`."""

import json
import sys

import settings
from cli import command
from inference.engines import choice
from wire import QueueUnavailable
from wire.orders.order_book import OrderBook


def main() -> int:
    """Print the state, or why there is none."""
    try:
        state = command.queue_state()
        book = OrderBook(settings.queue_address(), settings.REDIS_QUEUE, timeout_s=command.QUEUE_TIMEOUT_S).read()
    except QueueUnavailable as fault:
        command.say(json.dumps({"fault": str(fault)}))
        return 0
    workers = [{"id": info.id, "served": f"{info.model}/{info.version}"} for info in state.workers]
    known = {"depth": state.depth, "oldest_age_s": state.oldest_age_s, "startup_error": state.startup_error}
    orders = {"has_trainer": book.has_trainer, "waiting": sum(each.outcome is None for each in book.orders)}
    engine = choice.choose(settings.ENGINE)._asdict()
    command.say(json.dumps({**known, "orders": orders, "workers": workers, "engine": engine}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
