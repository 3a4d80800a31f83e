"""The stress run's errors, under one root."""


class StressError(Exception):
    """A fault that ends one run of the matrix; the others continue."""
