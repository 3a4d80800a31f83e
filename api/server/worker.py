"""The gunicorn worker that serves the api: gevent, with the deadlines of client_timeouts.py for every client.

Nothing of the application is imported here: gunicorn's master loads this module, and gevent has to patch the worker
before the application is loaded.
"""

import errno
import gc
import logging
import math
import os
import socket
import struct
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import monotonic
from types import SimpleNamespace
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn.http import errors as http_errors
from gunicorn.http import wsgi
from gunicorn.http.body import Body, ChunkedReader
from gunicorn.workers.ggevent import GeventWorker

import settings
from problems import Problem
from server.client_timeouts import Budget, ClientIdle, ClientTimeouts, PacedReader, Turns
from server.messages import BoundedRequestParser, OneWriteResponse, SizedBody, environ_of, problem_response, send
from server.read_turns import ReadTurns
from wire.process import entry_points

LOG = logging.getLogger("sightline.server")

# Up to this size, the unread rest of a body is read and discarded; with more, the connection is closed.
MAX_DISCARD_BYTES = 64 * 1024
# Above this share of MAX_CONNECTIONS each new connection replaces an unused one.
MAX_FILLED = 0.9
# What one connection may do in one pass of the event loop.
REQUESTS_PER_PASS = 1
READS_PER_PASS = 4
# How often the worker checks whether to stop, and sends gunicorn its heartbeat.
BEAT_S = 0.1
MAX_ACCEPT = 1024
TICK_S = 0.02
# How long idle connections stay open once the process is to stop.
IDLE_GRACE_S = 1.0

# What gunicorn raises where a client sent no valid HTTP; every other error is ours.
_CLIENT_ERRORS: tuple[tuple[type[Exception], int, str], ...] = (
    (http_errors.LimitRequestLine, 414, "uri_too_long"),
    (http_errors.LimitRequestHeaders, 431, "headers_too_large"),
    (http_errors.ExpectationFailed, 417, "expectation_failed"),
    (http_errors.ParseException, 400, "malformed"),
)
NO_LINGER = struct.pack("ii", 1, 0)
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ESHUTDOWN})


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves each connection in a greenlet of its own: head, application, response, and again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timeouts = ClientTimeouts(
            idle_s=settings.IDLE_TIMEOUT_S,
            head_s=settings.HEAD_TIMEOUT_S,
            body_s=settings.UPLOAD_TIMEOUT_S,
            window_s=settings.UPLOAD_PACE_S,
            send_s=settings.SEND_TIMEOUT_S,
        )
        self._budget = Budget(settings.MAX_UPLOADS_BYTES)
        # Those whose last request is longest ago come first.
        self._readers: dict[PacedReader, None] = {}
        self._due_at = math.inf  # nothing measures the lag
        self._read_turns = ReadTurns()
        self._closes_idle = False
        # Each look at gunicorn's own takes two calls, and a request takes twenty.
        self._settings = SimpleNamespace(
            **{name: each.get() for name, each in self.cfg.settings.items()}, is_ssl=self.cfg.is_ssl
        )
        self._environ = wsgi.base_environ(self.cfg) | {"wsgi.multithread": True}

    def patch(self) -> None:
        """Patch the standard library, in three quarters of the processor time that a start would take otherwise."""
        with entry_points.read_once():
            super().patch()

    def load_wsgi(self) -> None:
        """Load the application and its load shedder.

        Nearly all objects stay. To search for garbage meanwhile took a tenth of the processor time of loading.
        """
        gc.disable()
        try:
            super().load_wsgi()
        finally:
            gc.enable()
        self._load_shedder = self.wsgi.extensions["sightline.load_shedder"]
        self._fold_metrics = self.wsgi.extensions["sightline.fold_metrics"]

    def run(self) -> None:
        """Serve until stopped; then finish the requests in progress, and close idle connections after a moment."""
        servers = [self._started(listener) for listener in self.sockets]
        while self.alive:
            self.notify()
            gevent.sleep(BEAT_S)
        for server in servers:
            server.close()
        # A request that arrives meanwhile is answered with Connection: close; a client whose connection is cut
        # cannot know whether its request was processed.
        self._wait_for_readers(IDLE_GRACE_S)
        self._closes_idle = True
        for reader in [reader for reader in self._readers if reader.is_idle]:
            with suppress(OSError):
                # What the client has sent by now is still read and answered.
                if not _has_sent(reader.sock):
                    reader.sock.shutdown(socket.SHUT_RDWR)
        self._wait_for_readers(self.cfg.graceful_timeout)

    def notify(self) -> None:
        """Send gunicorn's master the heartbeat; stop as on a signal where the master has died, not immediately."""
        self.tmp.notify()
        self._fold_metrics()
        if self.ppid != os.getppid():
            self.alive = False

    def _measure_lag(self) -> None:
        """Keep the time at which this greenlet is due next: the time since then is the lag of the event loop.

        It ends with the last connection, so that a process without any is not woken 50 times a second.
        """
        while self._readers:
            self._due_at = monotonic() + TICK_S
            gevent.sleep(TICK_S)
        self._due_at = math.inf

    def _wait_for_readers(self, seconds: float) -> None:
        until = monotonic() + seconds
        while self._readers and monotonic() < until:
            self.notify()
            gevent.sleep(BEAT_S)

    def _started(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        server = StreamServer(listener, partial(self.handle, listener), spawn=Pool(self.worker_connections))
        # Connections in the backlog are not visible here; of several processes, each leaves some to the others.
        server.max_accept = MAX_ACCEPT if self.cfg.workers == 1 else MAX_ACCEPT // 64
        server.start()
        return server

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection to its end."""
        reader = PacedReader(client, self._timeouts, self._budget, Turns(READS_PER_PASS))
        self._make_room()
        self._readers[reader] = None
        if self._due_at == math.inf:
            self._due_at = monotonic() + TICK_S
            gevent.spawn(self._measure_lag)
        try:
            self._serve(reader, listener.getsockname(), client, addr)
        except (ClientIdle, StopIteration, http_errors.NoMoreData):
            pass
        except OSError as error:
            if error.errno not in _GONE and not isinstance(error, TimeoutError):
                LOG.exception("a connection failed")
        except Exception as error:  # noqa: BLE001  the edge of the connection's loop
            self.handle_error(None, client, addr, error)
            _linger(client, reader)
        finally:
            del self._readers[reader]
            reader.forget_body()
            client.close()

    def _make_room(self) -> None:
        """Close the connection that has been unused for longest, where nearly all connections are in use."""
        if len(self._readers) < MAX_FILLED * self.worker_connections:
            return
        unused = next((reader for reader in self._readers if reader.is_unused), None)
        if unused is not None:
            unused.is_unused = False
            with suppress(OSError):
                unused.sock.shutdown(socket.SHUT_RDWR)

    def _serve(self, reader: PacedReader, listener_name: Any, client: Any, addr: Any) -> None:
        parser = BoundedRequestParser(self._settings, client, addr)
        parser.unreader = reader
        turns = Turns(REQUESTS_PER_PASS)
        while True:
            turns.take()
            self._readers[reader] = self._readers.pop(reader)
            reader.expect_rest()
            if not parser.finish_body():
                break
            reader.expect_head()
            if (goes_on := self._refuse_early(reader, client, addr)) is not None:
                if goes_on:
                    continue
                break
            request = next(parser)
            reader.expect_body(_length(request.body), owes_continue=request._expected_100_continue)
            # Sent once the body is read, if it ever is.
            request._expected_100_continue = False
            if not self._answer(request, reader, listener_name, client, addr):
                break
            if self._closes_idle and reader.buf.tell() == 0:
                break

    def _refuse_early(self, reader: PacedReader, client: Any, addr: Any) -> bool | None:
        """Refuse a request for which there is no room before it is parsed; return None where it is to be read.

        Otherwise return whether another request may follow on this connection.
        """
        received = reader.read_head(self.cfg.limit_request_line)
        if not received:
            return False
        lag_s = max(monotonic() - self._due_at, 0.0)
        address = addr[0] if isinstance(addr, tuple) and addr else None
        refusal = self._load_shedder.refuse(
            received,
            lag_s,
            len(self._readers),
            closes=not self.alive,
            address=address,
            waiting=self._read_turns.waiting,
        )
        if refusal is None:
            reader.unread(received)
            if self._load_shedder.is_image(received):
                reader.is_unused = False
                self._read_turns.take()
            return None
        self._read_turns.note_refusal()
        client.sendall(refusal.response)
        if refusal.closes:
            _linger(client, reader)
        elif refusal.unread < 0:
            reader.unread(received[refusal.unread :])
        return not refusal.closes and reader.discard(refusal.unread)

    def _answer(self, request: Any, reader: PacedReader, listener_name: Any, client: Any, addr: Any) -> bool:
        """Run the application for one request; return False where the connection is to be closed after it."""
        started = datetime.now()
        response = OneWriteResponse(request, client, self._settings)
        environ = environ_of(request, addr, listener_name, self._environ)
        # There is no other protocol to change to; the router would refuse the request as one for a WebSocket.
        environ.pop("HTTP_UPGRADE", None)
        environ["sightline.forget_body"] = reader.forget_body
        environ["sightline.count_body"] = reader.count_body
        environ["sightline.client_gone"] = response.is_client_gone
        if isinstance(request.body, SizedBody):
            environ["sightline.body_bytes"] = request.body.reader.length
        unread: int | float = 0
        try:
            pieces = self.wsgi(environ, response.start_response)
            unread = _unread(request.body, reader)
            if unread > MAX_DISCARD_BYTES or not self.alive:
                response.force_close()
            send(response, pieces)
        except Exception as error:
            if not response.has_begun:
                raise
            # Reset, so that the client does not take what it has for all of it.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            if isinstance(error, OSError):
                raise
            LOG.exception("a response broke off")
            return False
        finally:
            self.log.access(response, request, environ, datetime.now() - started)
        if not response.should_close():
            return True
        if unread or reader.buf.tell() or _has_sent(client):
            _linger(client, reader)
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be parsed, with the document and headers of every other failure."""
        problem = exc if isinstance(exc, Problem) else _problem_of(exc)
        if problem.status == 500:
            LOG.error("a request could not be answered", exc_info=exc)
        with suppress(OSError):
            client.sendall(problem_response(problem))


def _problem_of(error: BaseException) -> Problem:
    # These are parser errors too, but the application wrote the header.
    if not isinstance(error, http_errors.InvalidResponseHeader | http_errors.InvalidResponseHeaderName):
        for kind, status, code in _CLIENT_ERRORS:
            if isinstance(error, kind):
                return Problem(status, code, f"The request is not valid HTTP: {error}")
    return Problem(500, "internal", "The service failed; its log has the reason.")


def _has_sent(client: Any) -> bool:
    try:
        # The socket below gevent's, whose own recv would wait.
        return bool(client._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def _unread(body: Body, reader: PacedReader) -> int | float:
    """Return how much of a request's body may still arrive, infinity where that is unknown."""
    if body.failed or reader.owes_continue:
        return math.inf
    if isinstance(body.reader, ChunkedReader):
        return math.inf if body.reader.parser else 0
    # Not as a float: a length may have a thousand digits.
    return _length(body)


def _length(body: Body) -> int:
    """Return how much of a request's body is still to be read; 0 where that is unknown."""
    length: int = 0 if isinstance(body.reader, ChunkedReader) else body.reader.length
    return length


def _linger(client: Any, reader: PacedReader) -> None:
    """Close our side and discard what the client still sends: a connection reset now would lose the answer."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        reader.drain()
