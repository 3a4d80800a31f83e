"""Reasons why the service cannot start; every message names the remedy."""


class LauncherError(Exception):
    """A reason not to start that the user can do something about."""


class SettingError(LauncherError):
    """A setting has a value that the launcher cannot use."""


class PortUnavailableError(LauncherError):
    """The api could not listen on its address; `is_taken` where another process does."""

    def __init__(self, message: str, *, is_taken: bool = False) -> None:
        super().__init__(message)
        self.is_taken = is_taken


class StateInUseError(LauncherError):
    """Another run keeps its state in the same folder."""


class StateUnusableError(LauncherError):
    """The state folder cannot be made or written to."""


class NoRedisServerError(LauncherError):
    """No redis-server that is new enough stands on this machine."""
