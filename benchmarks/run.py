"""Carries out the steps of a plan: start a system, check every answer, then measure."""

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes, settings
from benchmarks.check_images import CheckImages, check_images
from benchmarks.client import collect_answers, share_equal, wait_for_first_answer
from benchmarks.direct import direct_labels, direct_speed, standing_queue
from benchmarks.errors import WrongAnswersError
from benchmarks.load import image_folder, image_list
from benchmarks.measure import MB, Load, measure_load
from benchmarks.options import WARM_UP_S, Options
from benchmarks.plan import DEPTHS, DIRECT, PHOTOGRAPHS, QUEUE, SAME_IMAGE, Case, Step
from benchmarks.results import Row
from benchmarks.server import Server
from benchmarks.systems import SIGHTLINE, SYSTEMS, Pipeline, Setting

START_TIMEOUT_S = 120
# Long enough for a system to fall quiet after its first answer.
SETTLE_S = 2.0
# Rounding may differ between a batch and a single image, so an image at a decision boundary may flip.
LOWEST_SHARE_EQUAL = 0.98


@dataclass
class Runner:
    """Carries out steps; what is right is found out once for each pipeline and precision."""

    options: Options
    images: CheckImages = field(default_factory=check_images)
    _labels: dict[tuple[Pipeline, str], dict[str, str]] = field(default_factory=dict)

    def carry_out(self, step: Step) -> list[Row]:
        """Return the rows of one step."""
        if step.experiment == "accuracy":
            return self._measure_accuracy(step)
        if step.system in DIRECT.values():
            return self._measure_direct(step)
        if step.system == QUEUE:
            return self._measure_queue(step)
        return self._measure_server(step)

    def expected(self, pipeline: Pipeline, setting: Setting) -> dict[str, str]:
        """Return the labels of direct inference."""
        key = (pipeline, setting.precision)
        if key not in self._labels:
            listing = image_list("check", self.images.paths)
            self._labels[key] = direct_labels(pipeline, setting, listing)
        return self._labels[key]

    def _measure_accuracy(self, step: Step) -> list[Row]:
        labels = self.expected(Pipeline.OWN, step.setting)
        usual = self.expected(Pipeline.PILLOW_ONNX, Setting("fp32"))
        row = _dimensions(step) | {"pictures_checked": len(labels), "same_class": share_equal(labels, usual)}
        truth = self.images.truth
        return [
            row | ({"right": share_equal(labels, truth), "usual_right": share_equal(usual, truth)} if truth else {})
        ]

    def _measure_direct(self, step: Step) -> list[Row]:
        pipeline = next(pipeline for pipeline, name in DIRECT.items() if name == step.system)
        rows = direct_speed(pipeline, step.setting, _list_of(PHOTOGRAPHS), self.options.duration_s / 2)
        return [_dimensions(step) | row for row in rows]

    def _measure_queue(self, step: Step) -> list[Row]:
        expected = self.expected(SIGHTLINE.pipeline, step.setting)
        with Server(SIGHTLINE, step.setting) as server:
            self._start_and_check(server, expected)
            for path in image_folder(PHOTOGRAPHS).glob("*.jpg"):
                shutil.copy(path, settings.STATE / "uploads")
            rows = standing_queue(server.root, self.options.duration_s, DEPTHS)
        return [_dimensions(step) | row for row in rows]

    def _measure_server(self, step: Step) -> list[Row]:
        system = SYSTEMS[step.system]
        expected = self.expected(system.pipeline, step.setting)
        with Server(system, step.setting) as server:
            rows = [_dimensions(step) | self._start_and_check(server, expected)]
            rows += [_dimensions(step) | self._measure_case(server, case) for case in step.cases]
        return rows

    def _start_and_check(self, server: Server, expected: dict[str, str]) -> Row:
        endpoint = server.endpoint(server.system.bodies[0])
        first = self.images.paths[0]
        wait_for_first_answer(
            endpoint, first, expected[first.name], timeout_s=START_TIMEOUT_S, is_running=server.is_running
        )
        cold_start_s = time.monotonic() - server.started_at
        time.sleep(SETTLE_S)
        idle_bytes = processes.memory_bytes(server.pids())
        shares: Row = {}
        for body in server.system.bodies:
            shares = self._check(server, body, expected)
        return {"cold_start_s": cold_start_s, "idle_mb": idle_bytes / MB, "processes": len(server.pids())} | shares

    def _check(self, server: Server, body: str, expected: dict[str, str]) -> Row:
        answers = collect_answers(server.endpoint(body), self.images.paths)
        share = share_equal(answers, expected)
        if share < LOWEST_SHARE_EQUAL:
            wrong = {name: (answers[name], label) for name, label in expected.items() if answers[name] != label}
            raise WrongAnswersError(
                f"{server.system.title} ({body}) answers {share:.0%} as direct inference does; "
                f"(answered, expected): {dict(list(wrong.items())[:5])}"
            )
        truth = self.images.truth
        return {"equal_to_direct": share} | ({"right": share_equal(answers, truth)} if truth else {})

    def _measure_case(self, server: Server, case: Case) -> Row:
        load = Load(
            _list_of(case.images), case.body, case.connections, case.stretch * self.options.duration_s, WARM_UP_S
        )
        dimensions = {"body": case.body, "pictures": case.images, "connections": case.connections}
        return dimensions | measure_load(server, load)


def _list_of(name: str) -> Path:
    images = sorted(image_folder(PHOTOGRAPHS if name == SAME_IMAGE else name).glob("*.jpg"))
    return image_list(name, images[:1] if name == SAME_IMAGE else images)


def _dimensions(step: Step) -> Row:
    return {
        "experiment": step.experiment,
        "system": step.system,
        "precision": step.setting.precision,
        "workers": step.setting.workers,
        "repeat": step.repeat,
    }
