"""The stress run's errors, under one root."""


class StressError(Exception):
    """Something that ends one run of the matrix; the others go on."""
