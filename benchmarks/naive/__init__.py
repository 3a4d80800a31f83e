"""The usual design of this exercise: Flask, a Redis list, and an api that polls for its answer."""

# The list that the api pushes to and the worker pops from.
QUEUE = "service_queue"
