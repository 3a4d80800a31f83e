"""Where Redis is, and the seam at which the driver's exceptions become ours."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is and as whom to enter; a socket path wins over host and port."""

    host: str = "127.0.0.1"
    port: int = 6379
    db: int = 0
    socket_path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        place = self.socket_path or f"{self.host}:{self.port}"
        return f"{place}/{self.db}"
