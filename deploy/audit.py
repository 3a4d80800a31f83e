"""`make audit`: known weaknesses of the pinned packages (pip-audit), and suspicious lines of our own (bandit).

Ends with 1 where a package has a known weakness or a line is of high severity. What the advisory service did not answer
for counts as NOT CHECKED, is reported last, and does not fail, since the service may be out of reach; `--strict` makes
it fail.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
OWN_CODE = ("api", "model", "wire/src", "storage/src", "deploy")
# Maximum number of names shown of packages that could not be checked.
NAMED = 5


class Verdict(NamedTuple):
    """The result of an advisory service for the packages."""

    audited: int
    unknown: tuple[str, ...]
    weaknesses: tuple[str, ...]


def main() -> int:
    """Check packages and lines; return the exit status."""
    parser = argparse.ArgumentParser(description="Search for known weaknesses.")
    parser.add_argument("--strict", action="store_true", help="fail where a package could not be checked")
    is_strict = parser.parse_args().strict
    verdict = judged(_pip_audit())
    for weakness in verdict.weaknesses:
        _say(weakness)
    high = _bandit()
    for line in told(verdict):
        _say(line)
    is_bad = verdict.weaknesses or high or (is_strict and verdict.unknown)
    return 1 if is_bad else 0


def told(verdict: Verdict) -> Iterator[str]:
    """Say how much is known, and what is not."""
    total = verdict.audited + len(verdict.unknown)
    yield f"packages: {verdict.audited} of {total} checked, {len(verdict.weaknesses)} weaknesses known"
    if verdict.unknown:
        few = ", ".join(verdict.unknown[:NAMED]) + (", …" if len(verdict.unknown) > NAMED else "")
        yield f"NOT CHECKED: {len(verdict.unknown)} of {total} packages, since no advisory service answered: {few}"


def judged(report: Mapping[str, Any]) -> Verdict:
    """Read pip-audit's report."""
    packages = report.get("dependencies", [])
    unknown = tuple(package["name"] for package in packages if "vulns" not in package)
    weaknesses = tuple(_told(package, found) for package in packages for found in package.get("vulns", []))
    return Verdict(len(packages) - len(unknown), unknown, weaknesses)


def _told(package: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    mended = ", ".join(found["fix_versions"]) or "no version"
    return f"{package['name']} {package['version']}: {found['id']}, fixed in {mended}"


def _pip_audit() -> Mapping[str, Any]:
    lists = sorted((REPOSITORY / "requirements").glob("*.txt"))
    named = [word for path in lists for word in ("--requirement", str(path))]
    # Everything is pinned and hashed: nothing has to be resolved or downloaded.
    options = ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    finished = _run("pip_audit", *options, *named)
    try:
        report: Mapping[str, Any] = json.loads(finished.stdout)
    except ValueError:
        reason = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        _say(f"pip-audit could not look anything up: {reason[:300]}")
        return {"dependencies": [{"name": name} for name in pinned(path.read_text() for path in lists)]}
    return report


def pinned(lists: Iterable[str]) -> list[str]:
    """Name what lists of requirements pin, each package once."""
    return sorted({name for text in lists for name in re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==", text, re.MULTILINE)})


def _bandit() -> int:
    """Say what bandit finds in our own code; return how much of it is of high severity."""
    folders = [str(REPOSITORY / folder) for folder in OWN_CODE]
    finished = _run("bandit", "--quiet", "--recursive", *folders, "--exclude", "*/tests/*", "--format", "json")
    report = json.loads(finished.stdout)
    counted = report["metrics"]["_totals"]
    for found in report["results"]:
        if found["issue_severity"] == "HIGH":
            _say(f"{found['filename']}:{found['line_number']}: {found['issue_text']}")
    high, medium, low = (int(counted[f"SEVERITY.{level}"]) for level in ("HIGH", "MEDIUM", "LOW"))
    _say(f"own code: {counted['loc']} lines, {high} of high severity, {medium} medium, {low} low")
    return high


def _run(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)  # noqa: S603


def _say(text: str) -> None:
    sys.stdout.write(f"audit: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
