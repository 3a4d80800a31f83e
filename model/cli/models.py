"""Choose which version is served: `python -m cli.models list`, `import`, `train`, `promote`, `rollback`, …

Workers change within seconds, between two batches: no request waits or fails, and each answer names its version. The
promotion gate refuses a version that images it was not trained on show to be harmed, unless --force is given; where
these are few, --provisional has to confirm it.
"""

import settings
from inference import cpu

if __name__ == "__main__":
    # An operator waits for it, and at the lowest priority it would take minutes on a busy machine.
    MAX_NICENESS = 10
    # Before the other imports, which alone take most of a second.
    cpu.lower_priority(min(settings.COMMAND_NICENESS, MAX_NICENESS))

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ml_service
from cli import command, promotion
from evaluation import batch_prediction
from evaluation.promotion_gate import Outcome, Verdict
from inference import bundle
from inference.bundle import Bundle
from inference.errors import ModelError, VersionError
from inference.model import Model
from registry import activation, versions
from registry.activation import PROMOTED, ROLLED_BACK, Trial
from registry.model_store import ModelStore
from serving import heat_maps
from wire import QueueUnavailable, WorkerInfo
from wire.queue_stats import STALE_AFTER_S

SHOWN_DIGITS = 12
# The exit status where the promotion gate refuses a version, or what it passes provisionally is not confirmed.
REFUSED = 2
# Workers take a second or two; on a machine that is busy with much else, more.
CHANGE_TIMEOUT_S = 60.0
POLL_EVERY_S = 0.2
# An outage may be as short as a restart of Redis.
REDIS_TIMEOUT_S = 5.0
# For as long, one more than a heartbeat, the list of workers has to stay the same: on a machine that stood still, no
# worker has one until it continues.
SETTLED_S = 1.5


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status: REFUSED where the promotion gate refuses."""
    options = parser(sys.argv[1:] if arguments is None else arguments).parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    return command.run(lambda: _act(action, options), "nothing was changed")


def _act(action: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    store = ml_service.model_store()
    if store is not None and action in (promote, roll_back, shadow):
        store.mirror()  # what is decided on is what all hosts have now
    return action(options)


def show(options: argparse.Namespace) -> int:
    """Print every version with its origin, and which one is served."""
    del options
    bundles = settings.bundles_folder()
    folders = versions.folders(bundles)
    if not folders:
        raise VersionError(f"there is no version in {bundles}; `make install` builds the default one")
    states, faults = {}, []
    # A file that cannot be read hides no version.
    for state, of in (("shadow", _tried), ("active", _active)):
        try:
            states[of(bundles)] = state
        except (ModelError, OSError) as fault:
            faults.append(str(fault))
    for folder in folders:
        name = versions.identity(folder)
        command.say(f"{states.get(name, ''):7} {name:30} {_described(folder)}")
    command.warn(*faults)
    return 1 if faults else 0


def _tried(bundles: Path) -> str:
    trial = activation.tried_beside(bundles)
    return "" if trial is None else trial.version


def _described(folder: Path) -> str:
    """Return what a version is and its origin, or why it cannot be served."""
    try:
        found, record = bundle.load(folder), versions.record_of(folder)
        bundle.check_place(found)
    except (ModelError, OSError) as fault:
        return f"cannot be served: {fault}"
    origin = "as delivered" if record is None else f"{record.base} and {len(record.cases)} cases, {record.made_at}"
    return f"{len(found.labels):5} labels  {_short(found.digest)}  {origin}"


def promote(options: argparse.Namespace) -> int:
    """Have workers serve another version, unless the promotion gate objects."""
    bundles = settings.bundles_folder()
    before, version = activation.active(bundles), versions.identity(versions.find(bundles, options.version))
    active = _active(bundles) if before else ""
    candidate = batch_prediction.load(bundles / version)  # whole, and the engine takes it; keeps its compiled form
    bundle.check_place(candidate.bundle)
    if version == active and all(_serves(info, candidate.bundle) for info in _workers()):
        raise VersionError(f"{version} is active already")
    note = "forced"
    if not options.force:
        verdict = promotion.judge((served(bundles, active), candidate), options).verdict
        if verdict.outcome is Outcome.REFUSED:
            reasons = "; ".join(verdict.reasons)
            command.warn(f"{version} was not promoted: {reasons}. --force promotes it all the same.")
            return REFUSED
        note = verdict.outcome.value if verdict.outcome is Outcome.PROVISIONAL else ""
        if note and not _confirmed(version, verdict, options):
            return REFUSED
    heat_maps.check(candidate.bundle).result()  # stored next to the version, so that no worker has to
    _activate(version, before, PROMOTED, note)
    return _await_workers(candidate.bundle)


def _activate(version: str, before: str, action: str, note: str = "") -> None:
    """Have this host serve a version, and all hosts where they share their versions."""
    store = ml_service.model_store()
    if store is None:
        activation.activate(settings.bundles_folder(), version, before, action, note)
    else:
        store.activate(version, before, action, note)


def _share_trial() -> None:
    store = ml_service.model_store()
    if store is not None:
        trial = activation.tried_beside(settings.bundles_folder())
        store.share_trial("" if trial is None else trial.version)


def push(options: argparse.Namespace) -> int:
    """Store versions where all hosts find them, the active one if none is named."""
    store, bundles = _shared(), settings.bundles_folder()
    for named in options.versions:
        store.push(versions.identity(versions.find(bundles, named)))
    if not options.versions:
        store.share_active()
    command.say(*store.versions())
    return 0


def pull(options: argparse.Namespace) -> int:
    """Bring versions here that all hosts share, every one if none is named."""
    store = _shared()
    for version in options.versions or store.versions():
        store.pull(version)
        command.say(version)
    return 0


def _shared() -> ModelStore:
    store = ml_service.model_store()
    if store is None:
        raise VersionError("MODEL_STORE is not set: give the place where all hosts find versions, s3://bucket/prefix")
    return store


def _confirmed(version: str, verdict: Verdict, options: argparse.Namespace) -> bool:
    """Return whether a version may be promoted that shows no harm, but on little evidence."""
    reasons = "; ".join(verdict.reasons)
    command.warn(f"{version} shows no harm, but provisionally: {reasons}")
    if not options.provisional and sys.stdin.isatty():
        command.say(f"Promote {version} provisionally? [y/N]")
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    if not options.provisional:
        command.warn(f"{version} was not promoted: --provisional confirms that it is to be, on this evidence")
    return bool(options.provisional)


def served(bundles: Path, active: str) -> Model:
    """Load the active version; raise VersionError, which names the remedy, where that cannot be."""
    try:
        return batch_prediction.load(bundles / (active or _active(bundles)))
    except (ModelError, OSError) as fault:
        raise VersionError(f"{fault}. Nothing can be compared with it; --force promotes without") from None


def roll_back(options: argparse.Namespace) -> int:
    """Have workers serve what they served before the last promotion."""
    del options
    bundles = settings.bundles_folder()
    now = activation.active(bundles)
    version = versions.identity(versions.find(bundles, activation.served_before(bundles)))
    before = batch_prediction.load(bundles / version)
    _activate(version, now, ROLLED_BACK)
    return _await_workers(before.bundle)


def discard(options: argparse.Namespace) -> int:
    """Remove a version that was made by improving another, and that nothing needs."""
    bundles = settings.bundles_folder()
    folder = versions.find(bundles, options.version)
    version = versions.identity(folder)
    if version == _active(bundles):
        raise VersionError(f"{version} is the active one: promote another version first")
    if version == _tried(bundles):
        raise VersionError(f"{version} is the shadow: end its trial first, with `shadow --stop`")
    if version == activation.rollback_target(bundles):
        raise VersionError(f"{version} is what a rollback leads to, and stays")
    versions.remove(folder)
    command.say(f"{version} is removed")
    return 0


def shadow(options: argparse.Namespace) -> int:
    """Start or end the trial of a version as shadow of the active one, or print what it has shown."""
    bundles = settings.bundles_folder()
    if options.version:
        version = versions.identity(versions.find(bundles, options.version))
        if version == _active(bundles):
            raise VersionError(f"{version} is the active one: name another one to receive live jobs along with it")
        batch_prediction.load(bundles / version)
        activation.try_beside(bundles, Trial(version, options.share))
        _share_trial()
        command.say(
            f"{version} gets {options.share:.0%} of the jobs along with {_active(bundles)}; its answers are discarded"
        )
    elif options.stop:
        activation.try_beside(bundles, None)
        _share_trial()
        command.say("no version gets jobs along with the active one any more")
    else:
        command.say(*_shadow_summaries(_workers()))
    return 0


def _shadow_summaries(workers: tuple[WorkerInfo, ...]) -> list[str]:
    """Return a line for each shadow with the sums of all workers."""
    counts: defaultdict[str, list[Mapping[str, float]]] = defaultdict(list)
    for info in workers:
        if info.shadow:
            counts[info.shadow].append(info.shadow_counts)
    none = ["no worker has a second version"]
    return [_summary(name, counts[name]) for name in sorted(counts)] or none


def _summary(name: str, each: list[Mapping[str, float]]) -> str:
    totals = {key: sum(counts.get(key, 0.0) for counts in each) for key in each[0]}
    compared = totals["compared"]
    seen = f"{name}: {compared:.0f} jobs compared by {len(each)} workers since the trial began"
    left = f"{totals['skipped']:.0f} skipped while all consumers were busy, {totals['failed']:.0f} failed"
    if not compared:
        return f"{seen}; {left}"
    own_ms, active_ms = (totals[key] / compared for key in ("candidate_ms", "active_ms"))
    times = f"decode and inference {own_ms:.1f} ms, by the active version {active_ms:.1f} ms"
    return f"{seen}; agrees on {totals['agreed'] / compared:.1%}; {times}; {left}"


def _await_workers(promoted: Bundle) -> int:
    """Wait until every worker serves it and every api knows; return 1 where that is not so, or cannot be known."""
    version, begin = f"{promoted.name}/{promoted.version}", time.monotonic()
    served, since = None, begin
    while True:
        workers, reason = _workers_now()
        others = [info for info in workers if not _serves(info, promoted)]
        now = time.monotonic()
        if (found := {info.id: info not in others for info in workers}) != served:
            served, since = found, now
        if not (others or reason):
            if now - since >= SETTLED_S or now - begin >= CHANGE_TIMEOUT_S:
                break
        elif now - begin >= (CHANGE_TIMEOUT_S if others else REDIS_TIMEOUT_S):
            break
        time.sleep(POLL_EVERY_S)
    if reason:
        command.warn(f"{version} is active, but whether any worker serves it is not known: {reason}")
        return 1
    if others:
        names = ", ".join(
            f"{info.id} serves {info.model}/{info.version} ({_short(info.bundle_digest)})" for info in others
        )
        command.warn(f"{version} is active, but {names}: see its log (MODEL_BUNDLE would fix the version)")
        return 1
    if not workers:
        command.say(f"{version} is active; no worker has a heartbeat, those that start will serve it")
        return 0
    took_s = since - begin
    # Until then an api may not know, and give a kept answer of the other version.
    time.sleep(max(STALE_AFTER_S - (time.monotonic() - since), 0.0))
    command.say(f"{version} is active; {len(workers)} workers serve it after {took_s:.1f} s")
    return 0


def _workers_now() -> tuple[tuple[WorkerInfo, ...], str]:
    """Return the workers with a heartbeat, and why they are not known where Redis does not answer."""
    try:
        return _workers(), ""
    except QueueUnavailable as fault:
        return (), str(fault)


def _serves(info: WorkerInfo, promoted: Bundle) -> bool:
    """Return whether a worker serves this content; one of an earlier release publishes its name alone."""
    if info.bundle_digest:
        return info.bundle_digest == promoted.digest
    return (info.model, info.version) == (promoted.name, promoted.version)


def _short(digest: str) -> str:
    return digest[:SHOWN_DIGITS] or "of unknown content"


def _workers() -> tuple[WorkerInfo, ...]:
    return command.queue_state().workers


def _active(bundles: Path) -> str:
    return versions.identity(bundle.choose(bundles, settings.MODEL_BUNDLE, settings.PRECISION))


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: give 0 to 1")
    return share


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of these arguments."""
    given = command.parser(__doc__)
    actions = given.add_subparsers(required=True, metavar="COMMAND")
    actions.add_parser("list", help="print every version").set_defaults(action=show)
    one = actions.add_parser("import", help="make a bundle of a network of your own", allow_abbrev=False)
    if arguments[:1] == ["import"]:
        from cli import import_model  # noqa: PLC0415  OpenVINO is slow to load, and listing needs none

        one.description = import_model.__doc__
        import_model.add_options(one)
        one.set_defaults(action=import_model.run)
    one = actions.add_parser("train", help="make a version from folders of images", allow_abbrev=False)
    if arguments[:1] == ["train"]:
        from cli import train_folder  # noqa: PLC0415  likewise

        one.description = train_folder.__doc__
        train_folder.add_options(one)
        one.set_defaults(action=train_folder.run)
    one = actions.add_parser("promote", help="serve another version", allow_abbrev=False)
    one.add_argument("version", metavar="VERSION")
    one.add_argument("--force", action="store_true", help="regardless of the promotion gate")
    one.add_argument("--provisional", action="store_true", help="although little could be compared")
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
    one = actions.add_parser("discard", help="remove a version that improve made", allow_abbrev=False)
    one.add_argument("version", metavar="VERSION")
    one.set_defaults(action=discard)
    trial = actions.add_parser("shadow", help="try a version on live jobs", allow_abbrev=False)
    trial.add_argument("version", nargs="?", default="", metavar="VERSION")
    trial.add_argument("--share", type=_share, default=0.1, help="of the jobs (default: %(default)s)")
    either = trial.add_mutually_exclusive_group()
    either.add_argument("--status", action="store_true", help="print what it has shown (the default)")
    either.add_argument("--stop", action="store_true", help="end it")
    trial.set_defaults(action=shadow)
    for name, action, what in (("push", push, "store versions for all hosts"), ("pull", pull, "bring versions here")):
        one = actions.add_parser(name, help=f"{what} (MODEL_STORE)")
        one.add_argument("versions", nargs="*", metavar="VERSION")
        one.set_defaults(action=action)
    return given


if __name__ == "__main__":
    sys.exit(main())
