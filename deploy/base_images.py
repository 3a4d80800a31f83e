"""`make base-images`: fetch the base images and pin the bytes that their tags stand for today, for docker-compose.

deploy/base-images.env then holds NAME=image@digest for each image that docker-compose.yml names:
`docker-compose --env-file deploy/base-images.env up --build` uses these and no others, until the command is run again.
"""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
COMPOSE, PINNED = REPOSITORY / "docker-compose.yml", REPOSITORY / "deploy" / "base-images.env"
_NAMED = re.compile(r"\$\{(\w+_IMAGE):-([^}]+)\}")


def main() -> int:
    """Pin every image, or none; return the exit status."""
    try:
        lines = [f"{name}={pinned(image)}\n" for name, image in sorted(set(_NAMED.findall(COMPOSE.read_text())))]
    except (OSError, LookupError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        sys.stderr.write(f"nothing was written: {reason}\n")
        return 1
    PINNED.write_text("".join(lines))
    sys.stdout.write("".join(lines))
    return 0


def pinned(image: str) -> str:
    """Return an image by the digest that its registry gives it now; raise LookupError where it came from none."""
    _docker("pull", "--quiet", image)
    digests = _docker("image", "inspect", "--format", '{{join .RepoDigests " "}}', image).split()
    if not digests:
        raise LookupError(f"{image} was made on this machine and has no digest: remove it, and run this again")
    return f"{image}@{digests[0].rpartition('@')[2]}"


def _docker(*words: str) -> str:
    # S603, S607: our own words, and the caller's docker
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
