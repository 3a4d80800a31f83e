"""Whether the running service really answers: its own /readyz, asked over HTTP."""

import http.client
import json

TIMEOUT_S = 2.0
WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


def base_url(host: str, port: int) -> str:
    """Return the address a browser on this machine opens."""
    reachable = WILDCARDS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def missing(host: str, port: int) -> str | None:
    """Describe what the service is still waiting for; None when it is ready."""
    connection = http.client.HTTPConnection(WILDCARDS.get(host, host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return "the api does not answer yet"
    finally:
        connection.close()
    return None if response.status == http.client.OK else _detail(body, response.status)


def _detail(body: bytes, status: int) -> str:
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    detail = problem.get("detail") if isinstance(problem, dict) else None
    return str(detail or f"/readyz answers {status}")
