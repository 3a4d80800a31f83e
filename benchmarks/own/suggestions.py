"""How long it takes to decide about 500 suggested images together: a request of the page to a running api.

`python -m benchmarks.own.suggestions [postgres]`: reports in the files of a folder, or in a PostgreSQL of its own. Each
image has 110 KB and a class of its own, which makes a row of the audit log for each.
"""

import hashlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPErrorProcessor, Request, build_opener, urlopen

from benchmarks import settings
from benchmarks.many_reports import imported
from sightline_testing.redis_server import RedisServer, free_port, redis_binaries
from sightline_testing.waiting import wait_until
from wire.orders.suggestions import MAX_SUGGESTIONS, Search, Suggestion, Suggestions
from wire.redis.address import Address
from wire.tables.feedback import REPORTS, REPORTS_FILE

QUEUE, IMAGE_BYTES = "sightline", 110_000
# Of review.js.
OF_SCRIPT = 100
# As review.suggestions has it; that is the api's.
UPTO = str(2**62)


def main(*, in_database: bool) -> None:
    """Print the seconds that the decisions take."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, key, port = Path(name), secrets.token_hex(16), free_port()
        (folder / REPORTS_FILE).write_text(f"{REPORTS.header_line}\n")
        redis = RedisServer(next(iter(redis_binaries().values())), folder)
        redis.start()
        stack.callback(redis.close)
        redis.start()
        suggestions = Suggestions(Address("127.0.0.1", redis.port), QUEUE, 10.0)
        environment = {
            **{"HOST": "127.0.0.1", "PORT": str(port), "OPERATOR_KEY": key, "LOG_LEVEL": "error"},
            **{"REDIS_IP": "127.0.0.1", "REDIS_PORT": str(redis.port), "REDIS_QUEUE": QUEUE},
            **{"FEEDBACK_FILEPATH": str(folder / "feedback"), "UPLOAD_FOLDER": str(folder / "uploads")},
            "DATABASE_URL": stack.enter_context(imported(folder)) if in_database else "",
        }
        command = [sys.executable, "app.py"]
        api = subprocess.Popen(command, cwd=settings.ROOT / "api", env=settings.environment_with(environment))
        stack.callback(api.wait)
        stack.callback(api.terminate)
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_live(url), "the api answers")
        for what, decide in (("by the page's script", by_script), ("by its form", by_form)):
            listed = suggestions_in(folder)
            suggestions.replace(listed, Search(0, len(listed), "net/1"))
            with urlopen(Request(f"{url}/review/suggestions?size=500", headers={"X-API-Key": key}), timeout=60):  # noqa: S310  our own address
                pass
            shown = [{"image": each.image, "seen": "0", "upto": UPTO, "label": each.prediction} for each in listed]
            began = time.perf_counter()
            decide(f"{url}/review/images", key, shown)
            sys.stdout.write(f"{len(shown)} decisions {what:22} {time.perf_counter() - began:6.3f} s\n")
            check(not suggestions.read().suggestions, "an image is still listed")


def suggestions_in(folder: Path) -> list[Suggestion]:
    """Store images, and return a suggestion for each."""
    (folder / "uploads").mkdir(exist_ok=True)
    found = []
    for rank in range(MAX_SUGGESTIONS):
        content = b"\xff\xd8\xff\xe0" + os.urandom(IMAGE_BYTES)
        name = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.jpg"
        (folder / "uploads" / name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        found.append(Suggestion(sha256, name, f"class {rank}", 0.25, "net/1", {"unsure": ""}, rank))
    return found


def by_script(url: str, key: str, shown: list[dict[str, str]]) -> None:
    """Decide as review.js does: so many images with each request."""
    for start in range(0, len(shown), OF_SCRIPT):
        document = {"decision": "accept", "images": shown[start : start + OF_SCRIPT]}
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        with urlopen(Request(url, json.dumps(document).encode(), headers), timeout=60) as answer:  # noqa: S310  as above
            check(all(each["is_kept"] for each in json.load(answer)["images"]), "a decision was not kept")


def by_form(url: str, key: str, shown: list[dict[str, str]]) -> None:
    """Decide as the page does without scripts: all with one request, which leads back to the list."""
    fields = [("decision", "accept"), *(("image", json.dumps(each)) for each in shown)]
    request = Request(url, urlencode(fields).encode(), {"X-API-Key": key})  # noqa: S310  as above
    with build_opener(WithoutRedirects).open(request, timeout=60) as answer:
        check(answer.status == HTTPStatus.SEE_OTHER, f"the form was answered with {answer.status}")


def check(holds: bool, otherwise: str) -> None:
    """End with a message where something does not hold."""
    if not holds:
        sys.exit(otherwise)


class WithoutRedirects(HTTPErrorProcessor):
    """Returns every answer as it is."""

    def http_response(self, request: Request, response: Any) -> Any:
        """Return it."""
        return response


def is_live(url: str) -> bool:
    """Return whether the api answers."""
    try:
        with urlopen(f"{url}/livez", timeout=5):  # noqa: S310  as above
            return True
    except OSError:
        return False


if __name__ == "__main__":
    main(in_database=sys.argv[1:] == ["postgres"])
