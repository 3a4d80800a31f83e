"""`make arm-wheels`: which of the pinned packages have wheels for 64-bit Arm, and which lack them.

Finds out from the index, by uv, what each list of requirements/ would install on Debian 12 there, without downloading a
wheel. Ends with 1 where something that serves is missing.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
# Of Debian 12, which the images are made of: wheels for an older libc run there as well.
PLATFORM, PYTHON = "aarch64-manylinux_2_36", "3.11"
# Lists that are not used to serve.
FOR_DEVELOPMENT = {"chart", "dev", "docs", "fuzz", "security", "stress"}
_MISSING = re.compile(r"Because ([\w.-]+)(?:\[[^]]*\])?(?:==|\{)")
_INSTALLED = re.compile(r"Would install (\d+) package")
_OF_OTHERS = re.compile(r"^([\w.-]+)==\S+ ; (?!.*aarch64).*platform_machine == 'x86_64'", re.MULTILINE)


class Outcome(NamedTuple):
    """What of a list there is for the platform; `left_out` are packages that the list itself has for others alone."""

    there: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...]


def main() -> int:
    """Look at every list; return the exit status."""
    is_served = True
    for path in sorted((REPOSITORY / "requirements").glob("*.txt")):
        outcome = look(path.read_text())
        is_served = is_served and (not outcome.missing or path.stem in FOR_DEVELOPMENT)
        said = [f"{outcome.there} packages"]
        said += [f"missing: {', '.join(outcome.missing)}"] if outcome.missing else []
        said += [f"not used there: {', '.join(outcome.left_out)}"] if outcome.left_out else []
        sys.stdout.write(f"{path.stem:12} {'; '.join(said)}\n")
    return 0 if is_served else 1


def look(listed: str) -> Outcome:
    """Return what there is of a list of requirements; raise RuntimeError where the index does not answer."""
    entries, missing = re.split(r"\n(?=\S)", listed.strip()), list[str]()
    while entries:
        said = _asked("\n".join(entries))
        if there := _INSTALLED.search(said):
            return Outcome(int(there[1]), tuple(missing), tuple(_OF_OTHERS.findall(listed)))
        found = _MISSING.search(said)
        if found is None or found[1] in missing:
            raise RuntimeError(said)
        missing.append(found[1])
        entries = [entry for entry in entries if not re.match(rf"{re.escape(found[1])}(\[[^]]*\])?==", entry)]
    return Outcome(0, tuple(missing), ())


def _asked(listed: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "requirements.txt")
        path.write_text(f"{listed}\n")
        command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps", "--require-hashes"]
        command += ["--only-binary", ":all:", "--python-platform", PLATFORM, "--python-version", PYTHON]
        command += ["--target", folder, "--requirement", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own words
        return done.stderr


if __name__ == "__main__":
    sys.exit(main())
