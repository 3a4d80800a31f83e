"""TLS over a socket that one thread writes to while another reads: its state is in memory, behind a lock of its own."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from typing import Final

from wire.redis.address import Place, Tls
from wire.redis.faults import TlsFault
from wire.redis.sockets import SHORTEST_WAIT_S

_PIECE_BYTES: Final = 64 * 1024
_UNTRUSTED = "the certificate of Redis is not accepted: name its CA with ssl_ca_certs in REDIS_URL"
_OTHER_NAME = "the certificate of Redis is for another name: use that one in REDIS_URL, or add ssl_check_hostname=false"
_NO_TLS = "Redis hangs, or no TLS is spoken there: write redis:// instead of rediss:// in REDIS_URL, or another port"
_NO_CERTIFICATE = "Redis refuses the client: name its certificate with ssl_certfile and ssl_keyfile in REDIS_URL"


class TlsSession:
    """The TLS state of one connection: `seal` what is to be sent, `open` what was received."""

    def __init__(self, tls: Tls, place: Place) -> None:
        """Read the files again, so that a renewed certificate is used; raise TlsFault."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = _context(tls).wrap_bio(self._incoming, self._outgoing, server_hostname=place.host)
        self._lock = threading.Lock()

    def shake_hands(self, opened: socket.socket, until: float) -> None:
        """Agree on TLS before `until` (monotonic); raise OSError."""
        while True:
            is_done = self._goes_on()
            opened.settimeout(max(until - time.monotonic(), SHORTEST_WAIT_S))
            opened.sendall(self._outgoing.read())
            if is_done:
                return
            try:
                piece = opened.recv(_PIECE_BYTES)
            except (ConnectionResetError, TimeoutError) as error:
                # A Redis without TLS waits for the end of the line.
                raise TlsFault(str(error), _NO_TLS) from error
            if not piece:
                raise TlsFault("it closed the connection", _NO_TLS)
            self._incoming.write(piece)

    def seal(self, packet: bytes) -> bytes:
        """Return the bytes to send for a packet, in the order of the calls."""
        with self._lock:
            self._object.write(packet)
            return self._outgoing.read()

    def open(self, piece: bytes) -> bytes:
        """Return what the bytes that came hold, as far as they are complete; raise OSError."""
        pieces = []
        with self._lock:
            self._incoming.write(piece)
            try:
                while part := self._object.read(_PIECE_BYTES):
                    pieces.append(part)
            except ssl.SSLWantReadError:
                return b"".join(pieces)
            except ssl.SSLZeroReturnError:
                pass
            except ssl.SSLError as error:
                raise _fault(error) from error
        raise ConnectionResetError("it closed the connection")

    @staticmethod
    def refusal(error: OSError) -> TlsFault:
        """Return the fault of a connection that ended before the first reply; the reason itself may be lost then."""
        return TlsFault(str(error), _NO_CERTIFICATE)

    def _goes_on(self) -> bool:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise _fault(error) from error
        return True


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
        if tls.certificate_file:
            context.load_cert_chain(tls.certificate_file, tls.key_file or None)
    except OSError as error:
        raise TlsFault(
            f"{', '.join(tls.files)}: {error}", "the files of REDIS_URL cannot be used: check the paths and rights"
        ) from error
    context.check_hostname = tls.checks_host
    if not tls.verifies:
        context.verify_mode = ssl.CERT_NONE
    return context


def _fault(error: ssl.SSLError) -> TlsFault:
    reason = (error.reason or "").lower()
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _OTHER_NAME if "mismatch" in error.verify_message.lower() else _UNTRUSTED
        return TlsFault(error.verify_message, advice)
    if "wrong_version" in reason or "record_layer" in reason or "packet_length" in reason:
        return TlsFault(reason.replace("_", " "), _NO_TLS)
    return TlsFault(reason.replace("_", " ") or str(error), _NO_CERTIFICATE if "alert" in reason else "")
