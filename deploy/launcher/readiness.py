"""Whether the running service really answers: its own /readyz, asked over HTTP."""

import json
import socket

TIMEOUT_S = 2.0
# Answered by a body that ends with the connection. The library's client would take a megabyte and a tenth of a second.
REQUEST = b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n"
OK = 200
WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


def base_url(host: str, port: int) -> str:
    """Return the address a browser on this machine opens."""
    reachable = WILDCARDS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def missing(host: str, port: int) -> str | None:
    """Describe what the service is still waiting for; None when it is ready."""
    try:
        with socket.create_connection((WILDCARDS.get(host, host), port), TIMEOUT_S) as connection:
            connection.sendall(REQUEST)
            with connection.makefile("rb") as response:
                head, _, body = response.read().partition(b"\r\n\r\n")
        status = int(head.split(maxsplit=2)[1])
    except (OSError, ValueError, IndexError):
        return "the api does not answer yet"
    return None if status == OK else _detail(body, status)


def _detail(body: bytes, status: int) -> str:
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return str(detail or f"/readyz answers {status}")
