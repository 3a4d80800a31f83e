"""The trainer as a process: at rest, at work, and killed in the middle of it."""

import os
import signal
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from sightline_testing.drawings import drawing_jpeg
from sightline_testing.waiting import wait_until
from storage.audit.log import AuditFile
from storage.transfers.folder import FolderTransfers
from tests.trainer.conftest import TrainerProbe
from wire.orders.messages import DISCARD, DONE, FAILED, IMPORT, ROLL_BACK, RUNNING, TRAIN

MAX_PSS_KB = 15_000  # 9,200 with another Python process


def test_a_trainer_at_rest_is_small_publishes_versions_and_does_orders_in_turn(trainers: TrainerProbe) -> None:
    process = trainers.start()
    wait_until(lambda: trainers.book.read().versions, "the versions are published")
    [version] = trainers.book.read().versions
    assert (version["version"], version["state"], version["labels"]) == ("efficientnet-lite0/1-int8", "active", 1000)
    assert memory_kb(process.pid, "Pss") < MAX_PSS_KB
    first, second = trainers.order(ROLL_BACK), trainers.order(DISCARD, version="1-int8")
    wait_until(lambda: trainers.known(second).state == FAILED, "both are done", 300)
    reasons = [trainers.known(each).outcome.reason for each in (first, second)]  # type: ignore[union-attr]
    assert "nothing was promoted" in reasons[0]
    assert "is the active one" in reasons[1]
    rows = AuditFile(trainers.files.feedback).newest(10)
    assert [(row.who, row.address, row.action, row.order) for row in rows] == [
        ("Ann", "192.0.2.1", DISCARD, second),
        ("Ann", "192.0.2.1", ROLL_BACK, first),
    ]
    assert all(row.outcome.startswith("failed: nothing was changed") for row in rows)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0
    assert not trainers.book.read().has_trainer


def test_a_trainer_killed_while_it_trains_leaves_no_half_version_and_its_order_is_taken_up_again_and_then_fails(
    trainers: TrainerProbe,
) -> None:
    trainers.files.accept((drawing_jpeg("pie_chart", seed), "pie chart") for seed in range(5))
    order_id = trainers.order(TRAIN)
    for attempt in (1, 2):
        process = trainers.start()
        wait_until(lambda attempt=attempt: has_begun(trainers, order_id, attempt), "it trains", 200)  # type: ignore[misc]
        process.kill()
        wait_until(lambda: not children_of(trainers), "its process has ended with it")
        assert trainers.known(order_id).state == RUNNING
    trainers.start()
    wait_until(lambda: trainers.known(order_id).state == FAILED, "it is given up", 200)
    outcome = trainers.known(order_id).outcome
    assert outcome is not None
    assert "interrupted 2 times" in outcome.reason
    assert trainers.versions() == ["1-int8"]
    [row] = AuditFile(trainers.files.feedback).newest(10)
    assert (row.action, row.outcome) == (TRAIN, f"failed: {outcome.reason}")


def test_the_process_of_an_order_that_is_killed_alone_is_started_again(trainers: TrainerProbe) -> None:
    trainers.files.accept((drawing_jpeg("pie_chart", seed), "pie chart") for seed in range(5))
    order_id = trainers.order(TRAIN)
    trainers.start()
    wait_until(lambda: has_begun(trainers, order_id, 1), "it trains", 200)
    [child] = children_of(trainers)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: trainers.known(order_id).state == DONE, "it is done", 300)
    outcome = trainers.known(order_id).outcome
    assert outcome is not None
    assert outcome.result["version"] == "efficientnet-lite0/2-int8"
    assert trainers.versions() == ["1-int8", "2-int8"]
    assert "signal 9" in trainers.log()
    assert [each["version"] for each in trainers.book.read().versions][1:] == ["efficientnet-lite0/2-int8"]


def test_a_network_that_would_take_all_memory_is_refused(trainers: TrainerProbe) -> None:
    files = {"model.onnx": swelling_network(), "labels.txt": b"a\nb\n"}
    upload = FolderTransfers(trainers.files.feedback).receive(files, 0)
    order_id = trainers.order(IMPORT, upload=upload, file="swelling.onnx", preset="torchvision")
    trainers.start()
    wait_until(lambda: trainers.known(order_id).state == FAILED, "it is refused", 300)
    outcome = trainers.known(order_id).outcome
    assert outcome is not None
    assert "memory" in outcome.reason or "alloc" in outcome.reason, outcome.reason
    assert trainers.versions() == ["1-int8"]


def swelling_network() -> bytes:
    """A small file that adds a constant of 5 GB to its scores."""
    shape = numpy_helper.from_array(np.array([2**16, 20_000], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["swollen"]),
        helper.make_node("ReduceSum", ["swollen"], ["total"], keepdims=0),
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "weights"], ["gemm"]),
        helper.make_node("Add", ["gemm", "total"], ["scores"]),
    ]
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "weights")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 32, 32])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "swelling", [image], [scores], [shape, weights])
    content: bytes = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    ).SerializeToString()
    return content


def has_begun(trainers: TrainerProbe, order_id: str, attempt: int) -> bool:
    """Return whether this attempt has come to its first step."""
    progress = trainers.known(order_id).progress
    return progress is not None and progress.attempt == attempt and progress.step > 0


def children_of(trainers: TrainerProbe) -> list[int]:
    """Return the processes that do orders of these trainers."""
    wanted = f"BUNDLES_FOLDER={trainers.bundles}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = b"trainer.execute" in (folder / "cmdline").read_bytes()
            if is_ours and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has just ended
    return found


def memory_kb(pid: int, name: str) -> int:
    """Return the resident or proportional memory of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
