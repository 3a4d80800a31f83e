"""What reports gain: makes versions from reported images by `improve.py` and counts their right answers.

    PYTHONPATH=.:model .venv/bin/python -m benchmarks.own.feedback_loop [--draws 4] [--only new-classes ...]

Images are drawn by code (sightline_testing.drawings); the labelled photographs are those of IMAGENET_DIR. Nothing
that is judged was reported or stored as traffic. A line for each version made; docs/feedback-loop.md has the results.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from benchmarks import settings
from inference import model
from inference.arrays import Pixels
from sightline_testing.drawings import NEW_KINDS, OLD_KINDS, drawing_jpeg
from sightline_testing.photographs import labelled
from sightline_testing.reviewed import FeedbackFiles

MODEL = "efficientnet-lite0"
UNSEEN = 200
FIVE = NEW_KINDS[:5]
REPORTED_FROM, JUDGED_FROM = 0, 100_000  # seeds of the drawings

Named = tuple[bytes, str]


@dataclass(frozen=True)
class Made:
    """A version made by cli.improve."""

    version: str
    seconds: float
    peak_mb: float


class Lab:
    """A folder of bundles, uploads and reports of its own, which each trial starts again."""

    def __init__(self, folder: Path, precision: str) -> None:
        self.folder = folder
        self.base = f"1-{precision}"
        self.files = FeedbackFiles(folder / "uploads", folder / "feedback")
        self.judged: dict[str, Sequence[Pixels]] = {}

    def begin(self) -> None:
        """Forget everything but the base."""
        for name in ("uploads", "feedback", "bundles"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        target = self.folder / "bundles" / MODEL / self.base
        shutil.copytree(settings.ROOT / "var" / "bundles" / MODEL / self.base, target)

    def improve(self) -> Made:
        """Run the command as an operator would."""
        begin = time.monotonic()
        finished = self.command("cli.improve", "--bundle", f"{MODEL}/{self.base}", "--new-version", "new")
        finished.check_returncode()
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        return Made("new", time.monotonic() - begin, peak_mb)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of model/ on this lab's folders."""
        places = {"BUNDLES_FOLDER": "bundles", "UPLOAD_FOLDER": "uploads", "FEEDBACK_FILEPATH": "feedback/feedback"}
        told = os.environ | {name: str(self.folder / place) for name, place in places.items()} | {"PYTHONPATH": "."}
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=settings.ROOT / "model",
            env=told,
            capture_output=True,
            text=True,
            check=False,
        )

    def names(self, version: str, key: str, contents: Callable[[], Iterable[bytes]]) -> list[str]:
        """Return what a version calls each image; decoded once for all versions."""
        judge = model.load(self.folder / "bundles" / MODEL / version, "openvino", streams=2, cores=2)
        if key not in self.judged:
            self.judged[key] = [_pixels(judge, content) for content in contents()]
        with ThreadPoolExecutor(2) as pool:
            scores = pool.map(lambda pixels: judge.predict(pixels[None])[0], self.judged[key])
            return [judge.top_k(row, 1)[0][0] for row in scores]

    def drawn(self, version: str, kind: str) -> int:
        """Return how many of UNSEEN drawings of a kind a version names right."""
        return self.names(version, kind, lambda: _drawings(kind, JUDGED_FROM, UNSEEN)).count(kind)

    def photographs(self, version: str) -> list[bool]:
        """Which of the labelled photographs a version names right."""
        found = self.names(version, "photographs", lambda: (each.path.read_bytes() for each in labelled()))
        return [name == each.label for name, each in zip(found, labelled(), strict=True)]


def _pixels(judge: model.Model, content: bytes) -> Pixels:
    pixels = judge.new_batch(1)
    judge.prepare(content, pixels[0])
    first: Pixels = pixels[0]
    return first


def _drawings(kind: str, first: int, count: int) -> Iterable[bytes]:
    return (drawing_jpeg(kind, seed) for seed in range(first, first + count))


def _lost(before: Sequence[bool], after: Sequence[bool]) -> str:
    gone = sum(was and not now for was, now in zip(before, after, strict=True))
    return f"photographs right {sum(before)} -> {sum(after)} of {len(after)} (lost {gone})"


def new_classes(lab: Lab, draws: int, kinds: Sequence[str] = FIVE) -> None:
    """Classes that the model never knew; with half of the photographs as unreported traffic, and with none."""
    for shots in (10, 3):
        for has_traffic in (False, True):
            shares = []
            for draw in range(draws):
                lab.begin()
                before = lab.photographs(lab.base)
                first = REPORTED_FROM + 100 * draw
                lab.files.accept((content, kind) for kind in kinds for content in _drawings(kind, first, shots))
                for each in labelled()[draw % 2 :: 2] if has_traffic else ():
                    lab.files.upload(each.path.read_bytes())
                made = lab.improve()
                right = [lab.drawn(made.version, kind) / UNSEEN for kind in kinds]
                shares.append(right)
                after = lab.photographs(made.version)
                if has_traffic:  # judged on those that were no traffic
                    before, after = before[1 - draw % 2 :: 2], after[1 - draw % 2 :: 2]
                shown = " ".join(f"{kind} {share:.1%}" for kind, share in zip(kinds, right, strict=True))
                traffic = "50 photographs stored" if has_traffic else "no traffic"
                _say(f"{shots} reports, {traffic}, draw {draw}: {shown}; {_lost(before, after)}; {made.seconds:.1f} s")
            _say(f"    mean {np.mean(shares):.1%}, lowest class {np.min(shares):.1%}")


def look_alikes(lab: Lab, draws: int) -> None:
    """A new class close to an old one: what becomes of the old one's own images."""
    for new, old in zip(("pie_chart", "qr_code"), OLD_KINDS, strict=True):
        for draw in range(draws):
            lab.begin()
            lab.files.accept((content, new) for content in _drawings(new, REPORTED_FROM + 100 * draw, 10))
            before = lab.drawn(lab.base, old)
            made = lab.improve()
            after = lab.drawn(made.version, old)
            share = lab.drawn(made.version, new) / UNSEEN
            _say(f"{new} and {old}, draw {draw}: {old} right {before} -> {after} of {UNSEEN}; {new} {share:.1%}")


def _rotated(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(np.rot90(pixels))


def _negative(pixels: Pixels) -> Pixels:
    return 255 - pixels


def _sketch(pixels: Pixels) -> Pixels:
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    edges = cv2.divide(grey, 255 - cv2.GaussianBlur(255 - grey, (21, 21), 0), scale=256)
    return np.asarray(cv2.cvtColor(edges, cv2.COLOR_GRAY2BGR), np.uint8)


DOMAINS = {"rotated by 90 degrees": _rotated, "negative": _negative, "sketch-like": _sketch}


def repeated_mistakes(lab: Lab, draws: int) -> None:
    """Photographs seen strangely: half of those named wrong are reported; what the other half gains."""
    for name, change in DOMAINS.items():
        changed = [_changed(each.path.read_bytes(), change) for each in labelled()]
        for draw in range(min(draws, 2)):
            lab.begin()
            before = lab.photographs(lab.base)
            found = lab.names(lab.base, name, partial(iter, changed))
            labels = [each.label for each in labelled()]
            wrong = [at for at, label in enumerate(labels) if found[at] != label]
            reported, other = wrong[draw::2], wrong[1 - draw :: 2]
            lab.files.accept((changed[at], labels[at]) for at in reported)
            made = lab.improve()
            after = lab.names(made.version, name, partial(iter, changed))
            gained = sum(after[at] == labels[at] for at in other)
            learned = sum(after[at] == labels[at] for at in reported)
            kept = [after[at] == label for at, label in enumerate(labels) if found[at] == label]
            _say(
                f"{name}, {len(reported)} reported: now right {learned} of them, {gained} of the other {len(other)} "
                f"wrong ones, {sum(kept)} of {len(kept)} right ones; {_lost(before, lab.photographs(made.version))}"
            )


def _changed(content: bytes, change: Callable[[Pixels], Pixels]) -> bytes:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    _, encoded = cv2.imencode(".jpg", change(np.asarray(pixels, np.uint8)), [cv2.IMWRITE_JPEG_QUALITY, 92])
    return encoded.tobytes()


def many(lab: Lab, draws: int, count: int = 100_000, images: int = 250) -> None:
    """How long improve.py takes and how much memory, with so many accepted reports of as many stored images."""
    del draws
    lab.begin()
    contents = [(drawing_jpeg(kind, seed), kind) for kind in FIVE for seed in range(images // len(FIVE))]
    lab.files.accept_copies(contents, count)
    made = lab.improve()
    _say(f"{count} accepted reports: {made.seconds:.1f} s, {made.peak_mb:.0f} MB at most")


def poisoning(lab: Lab, draws: int) -> None:
    """A hundred reports that call photographs by wrong names: not reviewed, and accepted by mistake."""
    del draws
    contents = [(each.path.read_bytes(), labelled()[at - 7].label) for at, each in enumerate(labelled())]
    lab.begin()
    for content, label in contents:
        lab.files.report(content, label)
    _say(f"{len(contents)} wrong reports without a review: {lab.command('cli.improve').stderr.strip()[-150:]}")
    lab.begin()
    lab.files.accept(contents)
    made = lab.improve()
    _say(f"accepted: {_lost(lab.photographs(lab.base), lab.photographs(made.version))}")
    told = lab.command("cli.models", "promote", "new", "--labelled", str(settings.IMAGENET_DIR))
    _say(f"status {told.returncode}: {told.stderr.strip()[-250:]}")


EXPERIMENTS = {
    "new-classes": new_classes,
    "all-nine-classes": lambda lab, draws: new_classes(lab, draws, NEW_KINDS),
    "look-alikes": look_alikes,
    "repeated-mistakes": repeated_mistakes,
    "poisoning": poisoning,
    "many": many,
}


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Run the experiments one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--draws", type=int, default=4, help="with other reported images each (default: %(default)s)")
    parser.add_argument("--only", choices=EXPERIMENTS, nargs="+", default=list(EXPERIMENTS))
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="feedback-loop-") as folder:
        lab = Lab(Path(folder), options.precision)
        for name in options.only:
            _say(f"--- {name}, {lab.base}")
            EXPERIMENTS[name](lab, options.draws)


if __name__ == "__main__":
    main()
