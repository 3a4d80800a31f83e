"""Runs the whole service on one machine: Redis, the model workers and the api under one supervisor."""
