"""The load: wrk in a closed loop, posting distinct images over a fixed number of connections."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import settings
from benchmarks.errors import LoadError

SCRIPT = Path(__file__).with_name("load.lua")
# Longer than any answer may take, so that slowness shows as latency and not as an error.
ANSWER_TIMEOUT_S = 120


@dataclass(frozen=True)
class LoadResult:
    """What wrk saw: latencies in milliseconds, answers that were not 200, connections that failed."""

    answers: int
    seconds: float
    not_200: int
    socket_errors: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    @property
    def images_per_s(self) -> float:
        """Images that were answered with 200, for each second."""
        return self.images / self.seconds

    @property
    def images(self) -> int:
        """Images that were answered with 200."""
        return self.answers - self.not_200


def image_folder(name: str) -> Path:
    """Return where the images of a set lie."""
    return settings.WORKSPACE / "images" / name


def image_list(name: str, paths: Iterable[Path]) -> Path:
    """Write paths where the script can read them, and return that file."""
    settings.WORKSPACE.mkdir(parents=True, exist_ok=True)
    listing = settings.WORKSPACE / f"{name}.list"
    listing.write_text("".join(f"{path}\n" for path in paths), "utf-8")
    return listing


def put_load(url: str, listing: Path, body: str, connections: int, seconds: float) -> LoadResult:
    """Keep `connections` requests open for `seconds` and return the responses."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise LoadError("wrk is not installed; on Debian and Ubuntu: apt-get install wrk")
    command = [wrk, "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", f"{ANSWER_TIMEOUT_S}s", "--script", str(SCRIPT), url, "--", str(listing), body]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_result(finished.stdout + finished.stderr)


def parse_result(output: str) -> LoadResult:
    """Read the JSON line that the script writes last."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadError(f"wrk gave no result; its output was: {output.strip() or '(nothing)'}")
    return LoadResult(**json.loads(lines[-1]))
