"""Which version is served: `python -m cli.models list`, `import`, `promote`, `rollback`, `shadow`.

Workers change within seconds, between two batches: no request waits or fails, and each answer names its version. A
version that names labelled pictures worse, or the usual pictures differently, is not promoted unless --force says so.
"""

from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority()  # before the other imports, which alone take most of a second

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_service
import settings
from cli import import_model, paths
from evaluation import batch_prediction, labelled
from inference import bundle
from inference.bundle import Bundle
from inference.errors import ModelError, VersionError
from registry import activation, promotion_gate, versions
from registry.activation import PROMOTED, ROLLED_BACK, Trial
from registry.promotion_gate import Evidence, Limits
from training import cases, traffic
from wire.errors import QueueUnavailable
from wire.queue_stats import STALE_AFTER_S, QueueStats
from wire.redis.keys import Keys
from wire.worker_registry import WorkerInfo

MOST_TRAFFIC = 400
SHOWN_DIGITS = 12
# Workers take a second or two; on a machine that is busy with much else, more.
CHANGE_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2
PATIENCE_S = 2.0


def main(arguments: list[str] | None = None) -> int:
    """Do what was asked; return the exit status: 2 where the guard refuses."""
    options = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except (ModelError, OSError, KeyError) as fault:
        sys.stderr.write(f"nothing was changed: {fault}\n")
        return 1


def show(options: argparse.Namespace) -> int:
    """Every version with where it comes from, and which one is served."""
    del options
    bundles = ml_service.bundles_folder()
    active, trial = _active(bundles), activation.tried_beside(bundles)
    if not any(versions.identities(bundles)):
        raise VersionError(f"there is no version in {bundles}; `make install` builds the default one")
    for name in versions.identities(bundles):
        state = "active" if name == active else "shadow" if trial and name == trial.version else ""
        _say(f"{state:7} {name:30} {_described(bundles / name)}")
    return 0


def _described(folder: Path) -> str:
    """What a version is and where it comes from; why it cannot be served where it cannot."""
    try:
        found, record = bundle.load(folder), versions.record_of(folder)
    except (ModelError, OSError) as fault:
        return f"cannot be served: {fault}"
    origin = "as delivered" if record is None else f"{record.base} and {len(record.cases)} cases, {record.made_at}"
    return f"{len(found.labels):5} labels  {_short(found.digest)}  {origin}"


def promote(options: argparse.Namespace) -> int:
    """Have workers serve another version, unless the guard finds something against it."""
    bundles = ml_service.bundles_folder()
    active, version = _active(bundles), versions.identity(versions.found(bundles, options.version))
    candidate = batch_prediction.load(bundles / version)  # whole, and the engine takes it; keeps its compiled form
    if version == active and all(_serves(info, candidate.bundle) for info in _workers()):
        raise VersionError(f"{version} is active already")
    found = []
    if not options.force:
        limits = Limits(options.most_loss, options.least_agreement)
        serving = batch_prediction.load(bundles / active)
        found = promotion_gate.objections(serving, candidate, _evidence(options), limits, _say)
    if found:
        sys.stderr.write(f"{version} was not promoted: {'; '.join(found)}. --force promotes it all the same.\n")
        return 2
    activation.activate(bundles, version, active, PROMOTED, "forced" if options.force else "")
    return _followed(candidate.bundle)


def roll_back(options: argparse.Namespace) -> int:
    """Have workers serve what they served before the last promotion."""
    del options
    bundles = ml_service.bundles_folder()
    version = versions.identity(versions.found(bundles, activation.served_before(bundles)))
    before = batch_prediction.load(bundles / version)
    activation.activate(bundles, version, _active(bundles), ROLLED_BACK)
    return _followed(before.bundle)


def shadow(options: argparse.Namespace) -> int:
    """Begin or end a trial of a version beside the active one, or say what has come of it."""
    bundles = ml_service.bundles_folder()
    if options.version:
        version = versions.identity(versions.found(bundles, options.version))
        if version == _active(bundles):
            raise VersionError(f"{version} is the active one: name another to see live jobs beside it")
        batch_prediction.load(bundles / version)
        activation.try_beside(bundles, Trial(version, options.share))
        _say(f"{version} sees {options.share:.0%} of the jobs beside {_active(bundles)}; nobody gets its answers")
    elif options.stop:
        activation.try_beside(bundles, None)
        _say("no version sees jobs beside the active one any more")
    else:
        _tell_of_shadow(_workers())
    return 0


def _tell_of_shadow(workers: tuple[WorkerInfo, ...]) -> None:
    """What all workers together have found."""
    shadowed = [info for info in workers if info.shadow]
    if not shadowed:
        _say("no worker has a version beside the active one")
    for name in sorted({info.shadow for info in shadowed}):
        totals: dict[str, float] = {}
        for info in shadowed:
            if info.shadow == name:
                totals = {key: totals.get(key, 0.0) + value for key, value in info.shadow_counts.items()}
        _say(_summary(name, totals, sum(info.shadow == name for info in shadowed)))


def _summary(name: str, counts: Mapping[str, float], workers: int) -> str:
    compared = counts["compared"]
    seen = f"{name}: {compared:.0f} jobs compared by {workers} workers since the trial began"
    left = f"{counts['skipped']:.0f} skipped while all lanes were busy, {counts['failed']:.0f} failed"
    if not compared:
        return f"{seen}; {left}"
    own_ms, active_ms = (counts[key] / compared for key in ("candidate_ms", "active_ms"))
    times = f"decode and inference {own_ms:.1f} ms, by the active version {active_ms:.1f} ms"
    return f"{seen}; agrees on {counts['agreed'] / compared:.1%}; {times}; {left}"


def _evidence(options: argparse.Namespace) -> Evidence:
    pictures = list(labelled.pictures(options.labelled)) if options.labelled else []
    if options.labelled and not pictures:
        raise VersionError(f"{options.labelled} holds no labelled pictures: LABELLED_FOLDER or --labelled names others")
    names = traffic.unreported(options.uploads, cases.reported_images(options.feedback), MOST_TRAFFIC)
    return Evidence(pictures, options.uploads, names)


def _followed(promoted: Bundle) -> int:
    """Wait until every worker serves it and every api knows, and say how long workers took; 1 where some do not."""
    version, begin, workers = f"{promoted.name}/{promoted.version}", time.monotonic(), _workers()
    while workers and time.monotonic() - begin < CHANGE_TIMEOUT_S:
        others = [info for info in workers if not _serves(info, promoted)]
        if not others:
            took_s = time.monotonic() - begin
            time.sleep(STALE_AFTER_S)  # until then an api may not know, and give a kept answer of the other version
            _say(f"{version} is active; {len(workers)} workers serve it after {took_s:.1f} s")
            return 0
        time.sleep(LOOK_EVERY_S)
        workers = _workers()
    if not workers:
        _say(f"{version} is active; no worker was heard of, those that start will serve it")
        return 0
    names = ", ".join(f"{info.id} serves {info.model}/{info.version} ({_short(info.bundle_digest)})" for info in others)
    sys.stderr.write(f"{version} is active, but {names}: its log says why (MODEL_BUNDLE would fix the version)\n")
    return 1


def _serves(info: WorkerInfo, promoted: Bundle) -> bool:
    """Whether a worker serves this content; one of an earlier release publishes its name alone."""
    if info.bundle_digest:
        return info.bundle_digest == promoted.digest
    return (info.model, info.version) == (promoted.name, promoted.version)


def _short(digest: str) -> str:
    return digest[:SHOWN_DIGITS] or "of unknown content"


def _workers() -> tuple[WorkerInfo, ...]:
    stats = QueueStats(settings.queue_address(), Keys(settings.REDIS_QUEUE), lambda workers: 0, timeout_s=PATIENCE_S)
    try:
        return stats.refresh().workers
    except QueueUnavailable:
        return ()
    finally:
        stats.close()


def _active(bundles: Path) -> str:
    return versions.identity(bundle.choose(bundles, settings.MODEL_BUNDLE, settings.PRECISION))


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: give 0 to 1")
    return share


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    actions = parser.add_subparsers(required=True)
    actions.add_parser("list", help="every version").set_defaults(action=show)
    one = actions.add_parser(
        "import", help="make a bundle of a network of your own", description=import_model.__doc__, allow_abbrev=False
    )
    import_model.add_options(one)
    one.set_defaults(action=import_model.run)
    one = actions.add_parser("promote", help="serve another version", allow_abbrev=False)
    one.add_argument("version", metavar="VERSION")
    one.add_argument("--force", action="store_true", help="whatever speaks against it")
    told = Path(settings.LABELLED_FOLDER) if settings.LABELLED_FOLDER else None
    one.add_argument("--labelled", type=Path, default=told, metavar="FOLDER", help="of pictures (default: %(default)s)")
    one.add_argument("--most-loss", type=_share, default=settings.PROMOTE_MOST_LOSS, help="default: %(default)s")
    one.add_argument(
        "--least-agreement", type=_share, default=settings.PROMOTE_LEAST_AGREEMENT, help="default: %(default)s"
    )
    one.add_argument("--feedback", type=Path, default=paths.feedback_folder(), help="default: %(default)s")
    one.add_argument("--uploads", type=Path, default=paths.uploads_folder(), help="default: %(default)s")
    one.set_defaults(action=promote)
    actions.add_parser("rollback", help="serve what was served before").set_defaults(action=roll_back)
    trial = actions.add_parser("shadow", help="try a version on live jobs", allow_abbrev=False)
    trial.add_argument("version", nargs="?", default="", metavar="VERSION")
    trial.add_argument("--share", type=_share, default=0.1, help="of the jobs (default: %(default)s)")
    either = trial.add_mutually_exclusive_group()
    either.add_argument("--status", action="store_true", help="what has come of it (the default)")
    either.add_argument("--stop", action="store_true", help="end it")
    trial.set_defaults(action=shadow)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
