"""Years of use in minutes: 200 versions of 20,000 reports, on cached features.

    export PYTHONPATH=.:model OPENBLAS_NUM_THREADS=1
    .venv/bin/python -m benchmarks.own.years_of_use [--versions 200] [--reports 100]

Every version is made by `cli.improve` from feedback.csv and decisions.csv, which grow. Only the images are not decoded:
a stored file holds what it shows, and its features are those of two cached drawings in a mixture of its own. Classes
appear over the years; one report in ten has a wrong label, of which reviewers find a part; decisions are changed later.
What is lost is counted on one half of the feature bank, while the versions have the other half, and on the photographs
of IMAGENET_DIR. Some versions are made again from their record.json and compared byte for byte.
"""

import argparse
import io
import itertools
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np

import settings as model_settings
from benchmarks import settings
from benchmarks.own.cached_features import BUNDLE, Features
from cli import improve
from inference import bundle
from inference.arrays import Floats, Pixels
from inference.bundle import Bundle
from onnx_tools.head import Head, read_head, with_head
from registry import versions
from serving import stored_images
from sightline_testing.drawings import NEW_KINDS, OLD_KINDS
from sightline_testing.reviewed import FeedbackFiles
from training import classes, feature_bank, train
from training.feature_bank import FEATURE_BANK_FILE, FeatureBank
from training.gathering import Sources, gather
from training.progress import Progress, silent

EVERY = 10  # versions from one line to the next
NEW_CLASS_EVERY = 4  # versions
WRONG, FOUND, REJECTED, CHANGED = 0.1, 0.5, 0.1, 0.02  # shares of reports
MAX_CASES = 300  # of a version; improve takes 2,000


class Extractor:
    """Gives the cached features of stored files, which hold a class and a number in place of an image."""

    features: Features

    def __init__(self, of: Bundle, _engine: str, _cores: int) -> None:
        self.bundle = of

    def of_contents(
        self, contents: Iterable[bytes | None], augment: Callable[[Pixels, int], Iterable[Pixels]] | None = None
    ) -> Iterator[Floats | None]:
        """Yield a row for each file."""
        del augment
        return (None if content is None else self._row(content.decode()) for content in contents)

    def of_synthetic(self, count: int, progress: Progress) -> Floats:
        """Return a row for each of so many synthetic images."""
        del progress
        return self.features.synthetic[:count]

    def _row(self, content: str) -> Floats:
        shown, number = content.split()
        draw = np.random.default_rng(int(number))
        first, *others = shown.split("+")
        one = self._drawing(draw, first)
        # A class of two names is half of each kind.
        share = 0.5 if others else draw.uniform(0.0, 0.4)
        return (1 - share) * one + share * self._drawing(draw, (others or [first])[0])

    def _drawing(self, draw: np.random.Generator, kind: str) -> Floats:
        rows = self.features.cases[kind]
        return rows[draw.integers(len(rows)), :1]


class Service:
    """Folders of bundles, uploads and feedback, and the people who report and review."""

    def __init__(self, folder: Path, features: Features, max_cases: int) -> None:
        self.folder, self.features, self.max_cases = folder, features, max_cases
        self.files = FeedbackFiles(folder / "uploads", folder / "feedback")
        self.draw = np.random.default_rng(1)
        mixed = ["+".join(pair) for pair in itertools.combinations(NEW_KINDS, 2)]
        self.kinds = [*NEW_KINDS, *(mixed[at] for at in self.draw.permutation(len(mixed)))]
        self.reports = 0
        self.reviewed: list[str] = []
        self.base = folder / "bundles" / BUNDLE.parent.name / BUNDLE.name
        half = FeatureBank(features.bank[::2], features.bank_classes[::2])
        described = bundle.description(BUNDLE) | {"training": {"augment": []}}
        labels, model = features.labels, (BUNDLE / "model.onnx").read_bytes()
        versions.write(folder / "bundles", described, model, labels, {FEATURE_BANK_FILE: feature_bank.encode(half)})
        self.unseen = np.concatenate([features.bank[1::2], features.photographs])
        self.shown = np.concatenate([features.bank_classes[1::2], features.photograph_classes])

    def people(self, reports: int, version: int) -> None:
        """Report images, and review them."""
        known = [*self.kinds[: 3 + version // NEW_CLASS_EVERY], *OLD_KINDS]
        for _ in range(reports):
            shown = known[int(self.draw.integers(len(known)))]
            is_wrong = self.draw.random() < WRONG
            label = known[int(self.draw.integers(len(known)))] if is_wrong else shown
            report = self.files.report(f"{shown} {self.reports}".encode(), label)
            self.reports += 1
            if is_wrong and self.draw.random() < FOUND:
                self.files.decide(report, "correct", shown)
            else:
                self.files.decide(report, "reject" if self.draw.random() < REJECTED else "accept", label)
            self.reviewed.append(report)
            if self.draw.random() < CHANGED:
                self.files.decide(self.reviewed[int(self.draw.integers(len(self.reviewed)))], "reject")

    def improve(self) -> Path:
        """Make the next version."""
        arguments = ["--bundle", versions.identity(self.base), "--max-cases", str(self.max_cases)]
        places = ["--feedback", str(self.files.feedback), "--uploads", str(self.files.uploads), "--max-traffic", "0"]
        with redirect_stdout(io.StringIO()):
            if improve.main([*arguments, *places]):
                raise SystemExit("improve failed")
        return max(self.base.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)

    def line(self, folder: Path) -> float:
        """Print the accuracy and the size of a version; return its top-1 in points."""
        head, labels = head_of(folder), bundle.load(folder).labels
        top1 = 100 * float((head.logits(self.unseen).argmax(axis=1) == self.shown).mean())
        found = [
            (head.logits(self.features.truth[kind]).argmax(axis=1) == labels.index(kind)).mean()
            for kind in NEW_KINDS
            if kind in labels
        ]
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        record = (folder / versions.RECORD_FILE).stat().st_size
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"{folder.name}: {self.reports} reports, {len(labels) - len(self.features.labels)} new classes, top-1 "
            f"{top1:.1f}, drawn classes found {np.mean(found):.3f} (lowest {min(found):.2f}); {size / 1e6:.1f} MB, the "
            f"record {record / 1e3:.0f} kB; peak {peak / 1e3:.0f} MB; {time.process_time():.0f} s of CPU",
            flush=True,
        )
        return top1


def head_of(folder: Path) -> Head:
    """Return the last layer of a version."""
    return read_head(bundle.load(folder).model)


def is_reproduced(service: Service, folder: Path) -> bool:
    """Return whether training on what its record names gives the model of a version again."""
    record = versions.record_of(folder)
    if record is None:
        return False
    labels, base = bundle.load(folder).labels, bundle.load(service.base)
    extractor = Extractor(replace(base, labels=labels), "", 1)
    uploads = stored_images.open_store(str(service.files.uploads))
    gathered = gather(extractor, Sources.of_record(record), uploads, silent)  # type: ignore[arg-type]
    head = train.train(gathered.cases, gathered.training_set).head
    shown = {case.label for case in gathered.used}
    unused = [at for at, label in enumerate(labels) if at >= len(base.labels) and label not in shown]
    again = with_head(base.model, classes.without(head, len(labels), unused))
    return again == (folder / "model.onnx").read_bytes()


def main() -> None:
    """Make the versions, print a line for every tenth, the slope of top-1, and which were made again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=200)
    parser.add_argument("--reports", type=int, default=100, help="for each version (default: %(default)s)")
    parser.add_argument("--max-cases", type=int, default=MAX_CASES, help="of a version (default: %(default)s)")
    parser.add_argument("--features", type=Path, default=settings.ROOT / "var" / "benchmark-features.npz")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        _run(Service(folder, Features.cached(options.features), options.max_cases), options)
    finally:
        shutil.rmtree(folder)


def _run(service: Service, options: argparse.Namespace) -> None:
    Extractor.features, vars(improve)["FeatureExtractor"] = service.features, Extractor
    model_settings.BUNDLES_FOLDER = str(service.folder / "bundles")
    points, made = [], []
    for number in range(1, options.versions + 1):
        service.people(options.reports, number)
        made.append(service.improve())
        if number % EVERY == 0:
            points.append(service.line(made[-1]))
    slope = np.polyfit(np.arange(len(points)), points, 1)[0] if len(points) > 1 else 0.0
    print(f"slope of top-1: {slope:+.3f} points for every {EVERY} versions")
    for each in (made[len(made) // 40], made[len(made) // 2], made[-1]):
        again = "the same bytes" if is_reproduced(service, each) else "OTHER BYTES"
        print(f"{each.name} made again from its record: {again}")


if __name__ == "__main__":
    main()
