"""What a worker answers over HTTP, on a port of its own: /livez, /readyz and /metrics."""

import logging
import socket
import threading
from socketserver import ThreadingTCPServer
from urllib.parse import urlsplit

from prometheus_client import MetricsHandler

from serving import metrics
from serving.readiness import Readiness

log = logging.getLogger("ml_service")

# A client that sends nothing holds a thread no longer than this.
CLIENT_TIMEOUT_S = 10.0


def serve(host: str, port: int, readiness: Readiness) -> None:
    """Answer on this port; where it cannot be had, log that and continue."""
    try:
        server = _Server(host, port, readiness)
    except OSError as fault:
        log.error("METRICS_HOST=%s, METRICS_PORT=%d: nothing is served there: %s", host, port, fault.strerror)
        return
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, readiness: Readiness) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.readiness = readiness
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore a client that went away."""
        log.debug("a request for metrics or health failed", exc_info=True)


class _Handler(MetricsHandler):
    registry = metrics.registry
    timeout = CLIENT_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:  # noqa: N802  the name that http.server calls
        """Answer that the process lives (Redis is not asked), whether it takes jobs, or what it counts."""
        path = urlsplit(self.path).path
        if path == "/livez":
            self._answer(200, "ok")
        elif path == "/readyz":
            reason = self.server.readiness.reason()
            self._answer(503 if reason else 200, reason or "ready")
        elif path in ("/", "/metrics"):
            super().do_GET()
        else:
            self._answer(404, "not found: /livez, /readyz and /metrics are here")

    def _answer(self, status: int, text: str) -> None:
        content = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
