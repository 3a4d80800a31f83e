"""What can go wrong while a bundle is made; each message says what to do."""


class BuildError(Exception):
    """A bundle could not be made as it must be."""


class CheckpointError(BuildError):
    """The checkpoint is missing, is not the published one, or asks for something that is not admitted."""
