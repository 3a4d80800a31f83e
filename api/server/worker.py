"""The gunicorn worker that serves the api: gevent, with every client under the deadlines of pace.py.

Nothing of the application is imported here: gunicorn's master loads this module, and gevent has to patch the worker
before anything else is in it.
"""

import errno
import logging
import math
import socket
from contextlib import suppress
from datetime import datetime
from functools import partial
from time import monotonic
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
from server.chunked import BoundedRequestParser
from server.client_timeouts import Budget, ClientIdle, ClientTooSlow, Pace, PacedReader
from server.responses import OneWriteResponse, send, whole_answer
from server.turns import Turns

LOG = logging.getLogger("sightline.server")

# An unread rest of a body up to this size is read and thrown away; before a larger one the connection ends.
MAX_DISCARD_BYTES = 64 * 1024
# The share of MAX_CONNECTIONS from which on each newcomer replaces a connection that is not used.
MAX_FILLED = 0.9
# What one connection may do in a pass of the event loop.
REQUESTS_PER_PASS = 1
READS_PER_PASS = 4
# How often the worker looks up: whether it is to stop, and to tell gunicorn that it is well.
BEAT_S = 0.1
MAX_ACCEPT = 1024
TICK_S = 0.02
# How long connections that wait between two requests stay open once the process is to end.
KEPT_ON_S = 1.0

# What gunicorn's parser raises at a request that is not HTTP as it should be; everything else is our own fault.
_FAULTS: tuple[tuple[type[Exception], int, str], ...] = (
    (http_errors.InvalidResponseHeader, 500, "internal"),
    (http_errors.InvalidResponseHeaderName, 500, "internal"),
    (ClientTooSlow, 408, "client_too_slow"),
    (http_errors.LimitRequestLine, 414, "uri_too_long"),
    (http_errors.LimitRequestHeaders, 431, "headers_too_large"),
    (http_errors.ExpectationFailed, 417, "expectation_failed"),
    (http_errors.ParseException, 400, "malformed"),
)
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ESHUTDOWN})


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn has no types
    """Serves each connection in a greenlet of its own: head, application, answer, and again."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pace = Pace(
            idle_s=settings.IDLE_TIMEOUT_S,
            head_s=settings.HEAD_TIMEOUT_S,
            body_s=settings.UPLOAD_TIMEOUT_S,
            window_s=settings.UPLOAD_PACE_S,
            send_s=settings.SEND_TIMEOUT_S,
        )
        self._budget = Budget(settings.MAX_UPLOADS_BYTES)
        # Those whose last request is longest ago come first.
        self._readers: dict[PacedReader, None] = {}
        self._due_at = float("inf")
        self._lets_go = False

    def load_wsgi(self) -> None:
        """Load the application, and what refuses requests in its place."""
        super().load_wsgi()
        from server.load_shedding import refuse  # noqa: PLC0415  gevent comes first

        self._refuse = refuse

    def run(self) -> None:
        """Serve until told to stop; then answer what is under way, and soon let go who waits between requests."""
        gevent.spawn(self._measure_lag)
        servers = [self._started(listener) for listener in self.sockets]
        while self.alive:
            self.notify()
            gevent.sleep(BEAT_S)
        for server in servers:
            server.close()
        # Who asks again meanwhile is told to connect anew; one that is cut off cannot tell whether it was heard.
        self._wait_for_readers(KEPT_ON_S)
        self._lets_go = True
        for reader in [reader for reader in self._readers if reader.is_idle]:
            with suppress(OSError):
                # What the client had sent by now is still read and answered.
                if not _has_sent(reader.sock):
                    reader.sock.shutdown(socket.SHUT_RDWR)
        self._wait_for_readers(self.cfg.graceful_timeout)

    def _measure_lag(self) -> None:
        """Keep the moment at which this greenlet should have its next turn: by how much it is over, all are late."""
        while True:
            self._due_at = monotonic() + TICK_S
            gevent.sleep(TICK_S)

    def _wait_for_readers(self, seconds: float) -> None:
        until = monotonic() + seconds
        while self._readers and monotonic() < until:
            self.notify()
            gevent.sleep(BEAT_S)

    def _started(self, listener: Any) -> StreamServer:
        listener.setblocking(1)
        server = StreamServer(listener, partial(self.handle, listener), spawn=Pool(self.worker_connections))
        # Whoever waits to be accepted waits unseen; of several processes, each leaves something for the others.
        server.max_accept = MAX_ACCEPT if self.cfg.workers == 1 else MAX_ACCEPT // 64
        server.start()
        return server

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection to its end."""
        reader = PacedReader(client, self._pace, self._budget, Turns(READS_PER_PASS))
        self._make_room()
        self._readers[reader] = None
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
        """Let go of the connection that has asked for nothing for longest, where hardly another one can be held."""
        if len(self._readers) < MAX_FILLED * self.worker_connections:
            return
        unused = next((reader for reader in self._readers if reader.is_unused), None)
        if unused is not None:
            unused.is_unused = False
            with suppress(OSError):
                unused.sock.shutdown(socket.SHUT_RDWR)

    def _serve(self, reader: PacedReader, listener_name: Any, client: Any, addr: Any) -> None:
        parser = BoundedRequestParser(self.cfg, client, addr)
        parser.unreader = reader
        turns = Turns(REQUESTS_PER_PASS)
        while True:
            turns.take()
            self._readers[reader] = self._readers.pop(reader)
            reader.expect_rest()
            if not parser.finish_body():
                break
            reader.expect_head()
            if (goes_on := self._refuse_early(reader, client)) is not None:
                if goes_on:
                    continue
                break
            request = next(parser)
            reader.expect_body(owes_continue=request._expected_100_continue)
            # Sent once the body is read, if it ever is.
            request._expected_100_continue = False
            if not self._answer(request, reader, listener_name, client, addr):
                break
            if self._lets_go and reader.buf.tell() == 0:
                break

    def _refuse_early(self, reader: PacedReader, client: Any) -> bool | None:
        """Refuse a request without looking at it closely, where there is no place for it; None where it is to be read.

        Else whether another one may follow on this connection.
        """
        received = reader.read_head(self.cfg.limit_request_line)
        lag_s = max(monotonic() - self._due_at, 0.0)
        refusal = self._refuse(received, lag_s, len(self._readers), closes=not self.alive)
        if refusal is None:
            reader.unread(received)
            return None
        client.sendall(refusal.answer)
        if refusal.closes:
            _linger(client, reader)
        elif refusal.unread < 0:
            reader.unread(received[refusal.unread :])
        return not refusal.closes and reader.discard(refusal.unread)

    def _answer(self, request: Any, reader: PacedReader, listener_name: Any, client: Any, addr: Any) -> bool:
        """Run the application for one request; False where the connection ends with it."""
        started = datetime.now()
        response, environ = wsgi.create(request, client, addr, listener_name, self.cfg, OneWriteResponse)
        environ["wsgi.multithread"] = True
        environ["sightline.forget_body"] = reader.forget_body
        environ["sightline.client_gone"] = partial(is_gone, client)
        pieces = self.wsgi(environ, response.start_response)
        unread = _unread(request.body, reader)
        if unread > MAX_DISCARD_BYTES or not self.alive:
            response.force_close()
        try:
            send(response, pieces)
        finally:
            self.log.access(response, request, environ, datetime.now() - started)
        if not response.should_close():
            return True
        if unread or reader.buf.tell() or _has_sent(client):
            _linger(client, reader)
        return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what never became a request, in the shape and with the headers of every other failure."""
        status, code = next(
            ((status, code) for kind, status, code in _FAULTS if isinstance(exc, kind)), (500, "internal")
        )
        if status == 500:
            LOG.error("a request could not be answered", exc_info=exc)
        detail = f"This is not HTTP as it is expected here: {exc}" if status != 500 else "The service failed."
        with suppress(OSError):
            client.sendall(whole_answer(Problem(status, code, detail)))


def is_gone(client: Any) -> bool:
    """Say whether the client has closed its side, without waiting and without taking anything from the stream."""
    try:
        # The socket below gevent's, whose own recv would wait.
        return not client._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _has_sent(client: Any) -> bool:
    try:
        return bool(client._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def _unread(body: Body, reader: PacedReader) -> int | float:
    """Give how much of a request's body may still come; a client that waits for word may send its body, or none."""
    if body.failed or reader.owes_continue:
        return math.inf
    if isinstance(body.reader, ChunkedReader):
        return math.inf if body.reader.parser else 0
    # As it is: a length of a thousand digits is a whole number, and no float.
    length: int = body.reader.length
    return length


def _linger(client: Any, reader: PacedReader) -> None:
    """End our side, and take what the client still sends: a connection reset at once would swallow the answer."""
    with suppress(OSError):
        client.shutdown(socket.SHUT_WR)
        reader.drain()
