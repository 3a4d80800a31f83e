"""Limits that the api and the workers must agree on; settings may lower them and never exceed them.

Nothing here depends on another module, so that settings may be read before anything else is imported.
"""

import re

# A job is a few hundred bytes. An answer holds at most MAX_CLASSES labels of a bundle, whose file of labels has 4 MiB.
MAX_JOB_BYTES = 16_384
MAX_REPLY_BYTES = 8_388_608
MAX_TTL_MS = 24 * 3_600_000
# Classes that one job can ask for, such as all of a model, and those that MAX_TOP_K can let a client ask for by rank.
MAX_CLASSES = 10_000
MAX_TOP_K = 1000
# More than any image within the limits takes.
MAX_DECODE_MS = 3_600_000
# Workers read no larger file: model/inference/limits.py.
MAX_IMAGE_BYTES = 20 * 1024**2
# Image formats, by the names that FORMATS has.
FORMATS = ("jpeg", "png", "webp", "gif", "bmp", "heic", "avif", "tiff")
# Threads and processes of one machine.
MAX_PROCESSES = 256

_TOKEN = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
NAME_FORM = "1 to 80 letters, digits, or any of _ . : -"


def is_token(text: object) -> bool:
    """Return whether this may name a job, a process or a queue: short, printable, and safe inside a Redis key."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None
