"""The rules by which a bucket removes what is old, read and set by requests that are signed here.

obstore knows no such requests, and a client that does takes 15 MB: AWS' signature, version 4, is a page.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen
from xml.etree import ElementTree

from storage import s3
from storage.errors import StorageUnavailable
from storage.s3 import Server

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_NO_RULES = "NoSuchLifecycleConfiguration"
_CODE = re.compile(r"<Code>(\w+)</Code>")
# A person waits for this, and servers rewrite their configuration for it.
TIMEOUT_S = 10.0


class Rule(NamedTuple):
    """A rule that removes what begins with a prefix after so many days; 0: it does something else."""

    name: str
    prefix: str
    days: int
    is_enabled: bool = True


class Lifecycle:
    """The rules of a bucket; `place` is s3://bucket/prefix. Each method may raise StorageUnavailable."""

    def __init__(self, place: str, server: Server) -> None:
        self.place = place
        self._bucket, self._prefix = s3.parse(place)
        self._server = server

    def rules(self) -> list[Rule]:
        """Return all rules of the bucket, in order."""
        return [_rule_of(element) for element in self._elements()]

    def days(self, folder: str) -> int:
        """Return after how many days what is below a folder of the place is removed; 0: it stays."""
        key = self._key(folder)
        found = [rule.days for rule in self.rules() if rule.is_enabled and rule.days and key.startswith(rule.prefix)]
        return min(found, default=0)

    def expire(self, days: Mapping[str, int]) -> list[Rule]:
        """Have what is below each folder of the place removed after so many days, and return all rules; others stay."""
        prefixes = {self._key(folder): number for folder, number in days.items()}
        kept = [each for each in self._elements() if not (_rule_of(each).days and _rule_of(each).prefix in prefixes)]
        document = ElementTree.Element("LifecycleConfiguration", xmlns=_NAMESPACE)
        document.extend(kept)
        for prefix, number in prefixes.items():
            document.append(_element_of(Rule(f"sightline-{prefix.strip('/').replace('/', '-')}", prefix, number)))
        self._ask("PUT", ElementTree.tostring(document))
        return self.rules()

    def document(self, days: Mapping[str, int]) -> dict[str, object]:
        """Return the rules of `expire` as `aws s3api put-bucket-lifecycle-configuration` takes them."""
        rules = [
            {"ID": folder, "Status": "Enabled", "Filter": {"Prefix": self._key(folder)}, "Expiration": {"Days": number}}
            for folder, number in days.items()
        ]
        return {"Rules": rules}

    def _key(self, folder: str) -> str:
        return "/".join(filter(None, (self._prefix, folder))) + "/"

    def _elements(self) -> list[ElementTree.Element]:
        text = self._ask("GET")
        try:
            # Expat of every Python that is supported ends entities that grow; the server is one of ours.
            root = ElementTree.fromstring(text) if text else ElementTree.Element("none")  # noqa: S314
        except ElementTree.ParseError as error:
            raise StorageUnavailable(f"{self.place}: the rules of the bucket cannot be read: {error}") from None
        for each in root.iter():
            each.tag = each.tag.rpartition("}")[2]  # some servers answer with a namespace, some without
        return root.findall("Rule")

    def _ask(self, method: str, body: bytes = b"") -> bytes:
        """Send a request about the rules and return the answer; empty where there are none."""
        request = _signed(self._server, method, self._bucket, body, datetime.now(UTC))
        try:
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310  an address of the settings
                found: bytes = answer.read()
                return found
        except HTTPError as refusal:
            code = _CODE.search(refusal.read().decode("utf-8", "replace"))
            reason = code[1] if code else f"{refusal.code} {refusal.reason}"
        except OSError as error:
            reason = str(getattr(error, "reason", error))
        if reason == _NO_RULES:
            return b""
        raise StorageUnavailable(f"{self.place}: {reason}")


def _rule_of(element: ElementTree.Element) -> Rule:
    places = ("Filter/Prefix", "Filter/And/Prefix", "Prefix")
    prefix = next((found for found in map(element.findtext, places) if found), "")
    days = element.findtext("Expiration/Days") or "0"
    return Rule(element.findtext("ID") or "", prefix, int(days), element.findtext("Status") == "Enabled")


def _element_of(rule: Rule) -> ElementTree.Element:
    element = ElementTree.Element("Rule")
    for path, text in (
        ("ID", rule.name),
        ("Status", "Enabled"),
        ("Filter/Prefix", rule.prefix),
        ("Expiration/Days", str(rule.days)),
    ):
        parent = element
        for tag in path.split("/"):
            parent = ElementTree.SubElement(parent, tag)
        parent.text = text
    return element


def _signed(server: Server, method: str, bucket: str, body: bytes, now: datetime) -> Request:
    """Return a request for the rules of a bucket with AWS' signature of it."""
    parts = urlsplit(server.address)
    path, date = f"{parts.path}/{quote(bucket)}", now.strftime("%Y%m%dT%H%M%SZ")
    headers = {
        "content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
        "host": parts.netloc,
        "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
        "x-amz-date": date,
    }
    names = ";".join(headers)
    listed = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{path}\nlifecycle=\n{listed}\n{names}\n{headers['x-amz-content-sha256']}"
    scope = f"{date[:8]}/{server.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{server.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"Credential={server.access_key_id}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"
    url = f"{parts.scheme}://{parts.netloc}{path}?lifecycle="
    return Request(url, body or None, headers, method=method)  # noqa: S310  as above
