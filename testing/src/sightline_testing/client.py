"""A small HTTP client for tests: what a program or a browser sends, byte for byte."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any
from urllib.parse import urlencode, urlsplit

TIMEOUT_S = 60.0
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Response:
    """What came back."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Client:
    """A client of one service, with a connection for each request; `headers` are sent with each."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._headers = dict(headers or {})

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
        """Send one request and read the whole answer; redirects are not followed."""
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body or None, self._headers | dict(headers or {}))
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Response:
        """Send a GET."""
        return self.send("GET", path, headers=headers)

    def upload(self, path: str, content: bytes, name: str = "image.jpg", field: str = "file") -> Response:
        """Post a file as a browser's form does."""
        boundary = secrets.token_hex(16)
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        return self.send("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def post_form(self, path: str, fields: Mapping[str, str]) -> Response:
        """Post the fields of a form without a file."""
        return self.send("POST", path, urlencode(fields).encode(), {"Content-Type": FORM})
