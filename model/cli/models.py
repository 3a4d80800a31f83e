"""Choose which version is served: `python -m cli.models list`, `import`, `promote`, `rollback`, `shadow`.

Workers change within seconds, between two batches: no request waits or fails, and each answer names its version. The
promotion gate refuses a version with a lower accuracy or too little agreement, unless --force is given.
"""

import settings
from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority(settings.COMMAND_NICENESS)  # before the other imports, which alone take most of a second

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import ml_service
from cli import command, import_model
from evaluation import batch_prediction
from evaluation.batch_prediction import Models
from inference import bundle
from inference.bundle import Bundle
from inference.errors import ModelError, VersionError
from registry import activation, versions
from registry.activation import PROMOTED, ROLLED_BACK, Evidence, Limits, Trial
from training import cases
from wire import QueueUnavailable, WorkerInfo
from wire.queue_stats import STALE_AFTER_S

MAX_TRAFFIC = 400
# With less traffic of its own, versions are compared on synthetic images.
MIN_TRAFFIC = 20
SHOWN_DIGITS = 12
# Workers take a second or two; on a machine that is busy with much else, more.
CHANGE_TIMEOUT_S = 60.0
POLL_EVERY_S = 0.2


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: 2 where the promotion gate refuses."""
    options = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    return command.run(lambda: action(options), "nothing was changed")


def show(options: argparse.Namespace) -> int:
    """Print every version with its origin, and which one is served."""
    del options
    bundles = ml_service.bundles_folder()
    active, trial = _active(bundles), activation.tried_beside(bundles)
    if not any(versions.identities(bundles)):
        raise VersionError(f"there is no version in {bundles}; `make install` builds the default one")
    for name in versions.identities(bundles):
        state = "active" if name == active else "shadow" if trial and name == trial.version else ""
        command.say(f"{state:7} {name:30} {_described(bundles / name)}")
    return 0


def _described(folder: Path) -> str:
    """Return what a version is and its origin, or why it cannot be served."""
    try:
        found, record = bundle.load(folder), versions.record_of(folder)
    except (ModelError, OSError) as fault:
        return f"cannot be served: {fault}"
    origin = "as delivered" if record is None else f"{record.base} and {len(record.cases)} cases, {record.made_at}"
    return f"{len(found.labels):5} labels  {_short(found.digest)}  {origin}"


def promote(options: argparse.Namespace) -> int:
    """Have workers serve another version, unless the promotion gate objects."""
    bundles = ml_service.bundles_folder()
    active, version = _active(bundles), versions.identity(versions.find(bundles, options.version))
    candidate = batch_prediction.load(bundles / version)  # whole, and the engine takes it; keeps its compiled form
    if version == active and all(_serves(info, candidate.bundle) for info in _workers()):
        raise VersionError(f"{version} is active already")
    if not options.force:
        evidence = _evidence((batch_prediction.load(bundles / active), candidate), options)
        objections = activation.objections(evidence, Limits(options.max_accuracy_drop, options.min_agreement))
        if objections:
            command.warn(f"{version} was not promoted: {'; '.join(objections)}. --force promotes it all the same.")
            return 2
    activation.activate(bundles, version, active, PROMOTED, "forced" if options.force else "")
    return _await_workers(candidate.bundle)


def _evidence(models: Models, options: argparse.Namespace) -> Evidence:
    """Measure a candidate beside the active version, and print the figures."""
    labelled = before = after = 0
    if options.labelled:
        found = batch_prediction.on_labelled(models, options.labelled, command.progress)
        labelled, (before, after) = len(found.pairs), (each.top1 for each in found.figures())
        command.say(f"labelled images: top-1 {before} before, {after} now, of {labelled}")
    traffic = cases.unreported(options.uploads, cases.reported_images(options.feedback), MAX_TRAFFIC)
    if len(traffic) >= MIN_TRAFFIC:
        found = batch_prediction.on_traffic(models, traffic, options.uploads, command.progress)
    else:
        found = batch_prediction.on_synthetic(models, command.progress)
    what = found.title.lower()
    command.say(f"{what}: agreement on {found.agreeing} of {len(found.pairs)}")
    return Evidence(labelled, before, after, len(found.pairs), found.agreeing, what)


def roll_back(options: argparse.Namespace) -> int:
    """Have workers serve what they served before the last promotion."""
    del options
    bundles = ml_service.bundles_folder()
    version = versions.identity(versions.find(bundles, activation.served_before(bundles)))
    before = batch_prediction.load(bundles / version)
    activation.activate(bundles, version, _active(bundles), ROLLED_BACK)
    return _await_workers(before.bundle)


def shadow(options: argparse.Namespace) -> int:
    """Start or end the trial of a version as shadow of the active one, or print what it has shown."""
    bundles = ml_service.bundles_folder()
    if options.version:
        version = versions.identity(versions.find(bundles, options.version))
        if version == _active(bundles):
            raise VersionError(f"{version} is the active one: name another to see live jobs beside it")
        batch_prediction.load(bundles / version)
        activation.try_beside(bundles, Trial(version, options.share))
        command.say(
            f"{version} gets {options.share:.0%} of the jobs beside {_active(bundles)}; nobody gets its answers"
        )
    elif options.stop:
        activation.try_beside(bundles, None)
        command.say("no version gets jobs beside the active one any more")
    else:
        command.say(*_shadow_summaries(_workers()))
    return 0


def _shadow_summaries(workers: tuple[WorkerInfo, ...]) -> list[str]:
    """Return a line for each shadow with the sums of all workers."""
    counts: defaultdict[str, list[Mapping[str, float]]] = defaultdict(list)
    for info in workers:
        if info.shadow:
            counts[info.shadow].append(info.shadow_counts)
    none = ["no worker has a version beside the active one"]
    return [_summary(name, counts[name]) for name in sorted(counts)] or none


def _summary(name: str, each: list[Mapping[str, float]]) -> str:
    totals = {key: sum(counts.get(key, 0.0) for counts in each) for key in each[0]}
    compared = totals["compared"]
    seen = f"{name}: {compared:.0f} jobs compared by {len(each)} workers since the trial began"
    left = f"{totals['skipped']:.0f} skipped while all lanes were busy, {totals['failed']:.0f} failed"
    if not compared:
        return f"{seen}; {left}"
    own_ms, active_ms = (totals[key] / compared for key in ("candidate_ms", "active_ms"))
    times = f"decode and inference {own_ms:.1f} ms, by the active version {active_ms:.1f} ms"
    return f"{seen}; agrees on {totals['agreed'] / compared:.1%}; {times}; {left}"


def _await_workers(promoted: Bundle) -> int:
    """Wait until every worker serves it and every api knows; return 1 where some worker does not."""
    version, begin, workers = f"{promoted.name}/{promoted.version}", time.monotonic(), _workers()
    while workers and time.monotonic() - begin < CHANGE_TIMEOUT_S:
        others = [info for info in workers if not _serves(info, promoted)]
        if not others:
            took_s = time.monotonic() - begin
            time.sleep(STALE_AFTER_S)  # until then an api may not know, and give a kept answer of the other version
            command.say(f"{version} is active; {len(workers)} workers serve it after {took_s:.1f} s")
            return 0
        time.sleep(POLL_EVERY_S)
        workers = _workers()
    if not workers:
        command.say(f"{version} is active; no worker has a heartbeat, those that start will serve it")
        return 0
    names = ", ".join(f"{info.id} serves {info.model}/{info.version} ({_short(info.bundle_digest)})" for info in others)
    command.warn(f"{version} is active, but {names}: its log says why (MODEL_BUNDLE would fix the version)")
    return 1


def _serves(info: WorkerInfo, promoted: Bundle) -> bool:
    """Return whether a worker serves this content; one of an earlier release publishes its name alone."""
    if info.bundle_digest:
        return info.bundle_digest == promoted.digest
    return (info.model, info.version) == (promoted.name, promoted.version)


def _short(digest: str) -> str:
    return digest[:SHOWN_DIGITS] or "of unknown content"


def _workers() -> tuple[WorkerInfo, ...]:
    try:
        return command.queue_state().workers
    except QueueUnavailable:
        return ()


def _active(bundles: Path) -> str:
    return versions.identity(bundle.choose(bundles, settings.MODEL_BUNDLE, settings.PRECISION))


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: give 0 to 1")
    return share


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    actions = parser.add_subparsers(required=True, metavar="COMMAND")
    actions.add_parser("list", help="print every version").set_defaults(action=show)
    one = actions.add_parser(
        "import", help="make a bundle of a network of your own", description=import_model.__doc__, allow_abbrev=False
    )
    import_model.add_options(one)
    one.set_defaults(action=import_model.run)
    one = actions.add_parser("promote", help="serve another version", allow_abbrev=False)
    one.add_argument("version", metavar="VERSION")
    one.add_argument("--force", action="store_true", help="whatever the promotion gate finds")
    command.add_labelled(one)
    for name, old, default, what in (
        ("--max-accuracy-drop", "--most-loss", settings.PROMOTE_MAX_ACCURACY_DROP, "in top-1 on labelled images"),
        ("--min-agreement", "--least-agreement", settings.PROMOTE_MIN_AGREEMENT, "with the active version's top-1"),
    ):
        told = {"default": default, "metavar": "SHARE", "help": f"{what} (default: %(default)s)"}
        command.add_renamed(one, name, old, _share, **told)
    command.add_folders(one)
    one.set_defaults(action=promote)
    actions.add_parser("rollback", help="serve what was served before").set_defaults(action=roll_back)
    trial = actions.add_parser("shadow", help="try a version on live jobs", allow_abbrev=False)
    trial.add_argument("version", nargs="?", default="", metavar="VERSION")
    trial.add_argument("--share", type=_share, default=0.1, help="of the jobs (default: %(default)s)")
    either = trial.add_mutually_exclusive_group()
    either.add_argument("--status", action="store_true", help="print what it has shown (the default)")
    either.add_argument("--stop", action="store_true", help="end it")
    trial.set_defaults(action=shadow)
    return parser


if __name__ == "__main__":
    sys.exit(main())
