"""Have the bucket of IMAGE_STORE remove images after KEEP_UPLOADS_DAYS: `python -m commands.image_expiry`.

It sets a lifecycle rule for images and one for the records of who sent them; other rules of the bucket stay. Images
that a report is about are kept elsewhere and stay. Run it again after a change of KEEP_UPLOADS_DAYS or IMAGE_STORE.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterable

import settings
from storage.errors import StorageError
from storage.images.bucket import IMAGES, OWNERS
from storage.images.lifecycle import Lifecycle, Rule
from storage.s3 import server_of
from wire import __version__


def main(arguments: list[str] | None = None) -> int:
    """Set the rules, or print them; return the exit status."""
    parser = argparse.ArgumentParser(description="Has the bucket of IMAGE_STORE remove images after KEEP_UPLOADS_DAYS.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--show", action="store_true", help="print the rules that the bucket has, and change nothing")
    way.add_argument(
        "--json", action="store_true", help="print the rules as `aws s3api` takes them, without connecting"
    )
    options = parser.parse_args(arguments)
    if not settings.IMAGE_STORE:
        sys.stderr.write("IMAGE_STORE is not set: images are in a folder, which clean_uploads cleans up\n")
        return 1
    lifecycle = Lifecycle(settings.IMAGE_STORE, server_of(settings))
    days = wanted_days()
    if options.json:
        sys.stdout.write(f"{json.dumps(lifecycle.document(days), indent=2)}\n")
        return 0
    if not settings.S3_ACCESS_KEY_ID:
        sys.stderr.write(
            "S3_ACCESS_KEY_ID is not set: give the rules of --json to AWS' own tools, which know the role\n"
        )
        return 1
    try:
        _print_rules(lifecycle.rules() if options.show else lifecycle.expire(days))
    except StorageError as error:
        sys.stderr.write(f"the rules of the bucket cannot be {'read' if options.show else 'set'}: {error}\n")
        return 1
    return 0


def wanted_days() -> dict[str, int]:
    """Return how many days each folder of the bucket keeps what is in it; the records of senders outlive the images."""
    days = math.ceil(settings.KEEP_UPLOADS_DAYS)
    return {IMAGES: days, OWNERS: days + 1}


def _print_rules(rules: Iterable[Rule]) -> None:
    lines = [_line(rule) for rule in rules] or ["no rules: nothing in the bucket is ever removed\n"]
    sys.stdout.write("".join(lines))


def _line(rule: Rule) -> str:
    what = f"removed after {rule.days} days" if rule.days else "another rule, which stays"
    off = "" if rule.is_enabled else " (disabled)"
    return f"{rule.prefix or 'everything'}: {what}{off}\n"


if __name__ == "__main__":
    sys.exit(main())
