"""Inference as values in, values out: no queue, no settings, no environment."""
