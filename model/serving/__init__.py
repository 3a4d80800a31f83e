"""A running worker: dynamic batching, version watcher, shadow deployment, watchdog, metrics and traces."""
