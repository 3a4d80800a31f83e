"""What each kind of order does: the commands of the same name, called with the same options."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_service
import settings
from cli import command, evaluate, improve, models, promotion, suggest
from cli import erase as erasing
from cli import export as exporting
from evaluation import batch_prediction, summary
from inference import bundle
from inference.bundle import MODEL_FILE
from inference.errors import ModelError
from registry import versions
from serving import stored_images
from trainer.reporting import Reporter
from wire.orders import messages
from wire.orders.messages import Order

Result = Mapping[str, Any]
# Steps that are reported: of training, of a comparison and the gate after it, and of the others.
TRAIN_STEPS, EVALUATE_STEPS, EXPORT_STEPS, SUGGEST_STEPS = 3, 10, 1, 2
# A draft that is older was left behind by a process that was killed.
DRAFT_KEPT_S = 3600.0


class OrderRefused(Exception):  # noqa: N818  the name says what happened
    """An order was understood, and not done for a reason that `result` may say more of."""

    def __init__(self, reason: str, result: Result | None = None) -> None:
        super().__init__(reason)
        self.result = dict(result or {})


def prepare() -> None:
    """Bring here what all hosts share, where they do, so that orders find each version and what is served.

    Files that orders of before have left for a download go in time.
    """
    stored_images.transfers().drop_old()
    store = ml_service.model_store()
    if store is not None:
        store.mirror()
        for version in store.versions():
            store.pull(version)


def train(order: Order, reporter: Reporter) -> Result:
    """Make a version of the reviewed cases, as `cli.improve` does; then compare it, where the order includes that."""
    also_compares = bool(order.arguments.get("evaluate"))
    reporter.expect(TRAIN_STEPS + EVALUATE_STEPS * also_compares)
    only = [label for label in order.arguments.get("only", "").split("\n") if label]
    version = _made(reporter, only)
    store = ml_service.model_store()
    if store is not None:
        store.push(version)  # this host may lose it before someone promotes it
    return {"version": version, **(_compared(version) if also_compares else {})}


def _made(reporter: Reporter, only: Sequence[str]) -> str:
    """Return the version that was made, by the attempt before where that one had come to its end."""
    bundles = settings.bundles_folder()
    versions.remove_drafts(bundles, DRAFT_KEPT_S)
    if reporter.note and (bundles / reporter.note).is_dir():
        return reporter.note
    base = versions.base_of(bundles, command.active_bundle())
    name = versions.next_version(base.parent, base.name)
    reporter.remember(f"{base.parent.name}/{name}")
    return versions.identity(
        improve.improve(improve.parser().parse_args(["--new-version", name, *(f"--only={label}" for label in only)]))
    )


def evaluate_version(order: Order, reporter: Reporter) -> Result:
    """Compare a version with the active one, as `cli.evaluate` does, and ask the promotion gate."""
    reporter.expect(EVALUATE_STEPS)
    version = _named(order)
    return {"version": version, **_compared(version)}


def _compared(version: str) -> Result:
    bundles = settings.bundles_folder()
    found = evaluate.evaluate(evaluate.parser().parse_args([version]))
    first, second = (bundle.load(bundles / name) for name in (found.first, found.second))
    return {
        "first": found.first,
        "comparisons": [summary.of_comparison(each) for each in found.comparisons],
        "classes": summary.of_classes(found.comparisons, first.labels, second.labels),
        "verdict": _verdict(version),
    }


def _verdict(version: str) -> Result:
    """Return the gate's result, before a promotion of the version."""
    bundles = settings.bundles_folder()
    arguments = ["promote", version]
    candidate = batch_prediction.load(bundles / version)
    judged = promotion.judge((models.served(bundles, ""), candidate), models.parser(arguments).parse_args(arguments))
    return summary.of_verdict(judged.evidence, judged.verdict)


def promote(order: Order, _: Reporter) -> Result:
    """Serve a version, as `cli.models promote` does; raise OrderRefused where the gate or a worker objects.

    A network of another name can be served regardless of the gate: its answers differ by design.
    """
    version, active = _named(order), _active()
    if version == active:  # the attempt before has come to its end
        return {"version": version}
    is_forced = bool(order.arguments.get("force"))
    if is_forced and not _is_other_network(version, active):
        raise OrderRefused(f"{version} is a version of the network that is served: the promotion gate decides")
    options = ["--provisional"] if order.arguments.get("provisional") else []
    options += ["--force"] if is_forced else []
    try:
        return _by_command(version, "promote", version, *options)
    except OrderRefused as refusal:
        if not is_forced and _is_other_network(version, active):
            refusal.result["is_other_network"] = True
        raise


def _is_other_network(version: str, active: str) -> bool:
    return version.partition("/")[0] != active.partition("/")[0]


def roll_back(_: Order, reporter: Reporter) -> Result:
    """Serve what was served before, as `cli.models rollback` does."""
    if reporter.note and reporter.note != _active():  # likewise
        return {"version": _active()}
    reporter.remember(_active())
    result = _by_command("", "rollback")
    return {**result, "version": _active()}


def shadow(order: Order, _: Reporter) -> Result:
    """Try a version on a share of the live jobs, or end that trial where none is named, as `cli.models shadow` does."""
    if not order.arguments.get("version"):
        return _by_command("", "shadow", "--stop")
    version = _named(order)
    return _by_command(version, "shadow", version)


def discard(order: Order, _: Reporter) -> Result:
    """Remove a version, as `cli.models discard` does."""
    version = order.arguments.get("version", "")
    if bundle.is_identity(version) and not (settings.bundles_folder() / version).exists():
        return {"version": version}  # likewise
    return _by_command(version, "discard", version)


def erase(order: Order, _: Reporter) -> Result:
    """Erase an image, as `cli.erase` does."""
    found = erasing.erase(erasing.parser().parse_args([order.arguments.get("image", "")]))
    return found._asdict()


def export(order: Order, reporter: Reporter) -> Result:
    """Write an archive of the reviewed cases for the operator's browser, as `cli.export FILE.zip` does."""
    reporter.expect(EXPORT_STEPS)
    transfers = stored_images.transfers()
    archive = transfers.archive(order.id)
    written = exporting.export(exporting.parser().parse_args([str(archive)]))
    size = archive.stat().st_size
    transfers.publish(order.id)
    return {**written._asdict(), "bytes": size}


def import_network(order: Order, reporter: Reporter) -> Result:
    """Make a version of a network that the operator has uploaded, as `cli.models import` does."""
    from cli import import_model  # noqa: PLC0415  OpenVINO is slow to load, and other orders need none

    given, bundles = order.arguments, settings.bundles_folder()
    if reporter.note and (made := _imported(reporter.note)):
        return {"version": made}  # the attempt before has come to its end
    transfers = stored_images.transfers()
    folder = transfers.received(given.get("upload", ""))
    if folder is None:
        raise OrderRefused(
            "the uploaded files are not here, or no longer: the API and the trainer need one folder of reports, or "
            "IMAGE_STORE"
        )
    name = given.get("name") or import_model.name_of(Path(given.get("file", "")))
    number = import_model.free_number(bundles, name) if bundle.is_name(name) else 1
    reporter.remember(f"{name}/{number}")
    labels = next(iter(sorted(folder.glob("labels.*"))), None)
    words = [f"--name={name}", f"--new-version={number}", *([f"--labels={labels}"] if labels else [])]
    words += [f"--{option}={given[option]}" for option in ("preset", "size") if given.get(option)]
    options = models.parser(["import"]).parse_args(["import", str(folder / MODEL_FILE), *words])
    try:
        [version] = import_model.import_network(options)
    except ModelError as fault:
        raise OrderRefused(str(fault).replace(f"{folder}/", "")) from None
    except MemoryError:
        raise OrderRefused("the network needs more memory than a check may take") from None
    finally:
        transfers.drop(folder.name)
    store = ml_service.model_store()
    if store is not None:
        store.push(version)
    return {"version": version}


def _imported(note: str) -> str:
    """Return the version of a number, in whichever precision; empty where there is none."""
    found = settings.bundles_folder().glob(f"{note}-*") if bundle.is_identity(note) else ()
    return next((versions.identity(folder) for folder in found), "")


def suggest_images(_: Order, reporter: Reporter) -> Result:
    """Search for images to review, as `cli.suggest` does."""
    reporter.expect(SUGGEST_STEPS)
    return suggest.suggest(suggest.parser().parse_args([]))._asdict()


def _by_command(version: str, *words: str) -> Result:
    """Run a command of `cli.models`; raise OrderRefused, with what it has printed, where it does not succeed."""
    told = _Told()
    with command.told_to(told):
        status = models.main([*words])
    sys.stdout.flush()
    if status:
        is_refused = status == models.REFUSED
        needs_confirmation = is_refused and "--provisional" in told.warnings[-1]
        if needs_confirmation:
            told.warnings.pop()  # it names the option of the command
        raise OrderRefused(" ".join(told.warnings), {"version": version, "needs_confirmation": needs_confirmation})
    return {"version": version}


class _Told:
    """What a command warns of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, what: str, done: int, count: int, left_s: float) -> None:
        """Leave it to the reporter of the order."""

    def line(self, text: str, *, is_warning: bool) -> None:
        """Keep a warning."""
        if is_warning:
            self.warnings.append(text)


def _named(order: Order) -> str:
    """Return the version that an order names; raise VersionError."""
    return versions.identity(versions.find(settings.bundles_folder(), order.arguments.get("version", "")))


def _active() -> str:
    """Return the active version, "" where that is not known."""
    try:
        return versions.identity(command.active_bundle())
    except (ModelError, OSError):
        return ""


TASKS: Mapping[str, Callable[[Order, Reporter], Result]] = {
    messages.TRAIN: train,
    messages.EVALUATE: evaluate_version,
    messages.PROMOTE: promote,
    messages.ROLL_BACK: roll_back,
    messages.DISCARD: discard,
    messages.SHADOW: shadow,
    messages.ERASE: erase,
    messages.EXPORT: export,
    messages.SUGGEST: suggest_images,
    messages.IMPORT: import_network,
}
