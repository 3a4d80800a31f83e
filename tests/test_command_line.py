"""The command `sightline`, as it is installed, against the running service."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline import Client, ServiceError, __version__
from sightline_testing.sample_images import bad, jpeg
from sightline_testing.service import BUNDLES, REPOSITORY, Service, running_service
from sightline_testing.waiting import ended_within, wait_until

COMMAND = Path(sys.executable).with_name("sightline")
COUNT = 90


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # So small a queue refuses many at first.
    with running_service(tmp_path_factory.mktemp("service"), {"MAX_QUEUE_SIZE": "8"}) as service:
        yield service


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for seed in range(COUNT - 1):
        (folder / ("below" if seed % 2 else "") / f"{seed}.jpg").write_bytes(jpeg(200, 150, seed=seed))
    (folder / "broken.jpg").write_bytes(bad("truncated.jpg").content)
    (folder / "notes.txt").write_text("no image")
    return folder


def run(service: Service, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [str(COMMAND), "--url", service.url, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_classified_killed_half_way_and_gone_on_with(
    service: Service, photos: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results.csv"
    command = [str(COMMAND), "--url", service.url, "classify", str(photos), "-o", str(output)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as first:
        wait_until(lambda: output.exists() and output.read_bytes().count(b"\n") > COUNT // 3, "a third is done", 90)
        first.send_signal(signal.SIGKILL)
    before = rows(output)
    assert len(before) < COUNT
    finished = run(service, "classify", photos, "-o", output)
    assert finished.returncode == 1, finished.stderr
    told = f"{COUNT} images, {COUNT - len(before)} of them now: {COUNT - 1} classified, 1 failed"
    assert f"{told}; not sent: 1 files that are no images" in finished.stderr
    found = rows(output)
    assert found[: len(before)] == before
    names = [row["file"] for row in found]
    assert sorted(names) == sorted(str(path.relative_to(photos)) for path in photos.rglob("*.jpg"))
    assert {row["file"]: row["error"].partition(":")[0] for row in found if row["error"]} == {
        "broken.jpg": "image_broken"
    }
    with Client(service.url) as client:
        asked = client.classify((photos / "0.jpg").read_bytes())
    [row] = [row for row in found if row["file"] == "0.jpg"]
    assert (row["prediction"], row["score"]) == (asked.label, f"{asked.score:.4f}")


def test_lists_and_standard_input_name_images(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(200, 150, seed=1))
    (tmp_path / "b.jpg").write_bytes(jpeg(200, 150, seed=2))
    (tmp_path / "cases.csv").write_text("image\na.jpg\nb.jpg\n")
    output = tmp_path / "results.csv"
    finished = run(service, "classify", "--from", tmp_path / "cases.csv", "--column", "image", "-o", output)
    assert finished.returncode == 0, finished.stderr
    assert sorted(row["file"] for row in rows(output)) == [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    command = [str(COMMAND), "--url", service.url, "classify", "-", "--top-k", "3"]
    with (tmp_path / "a.jpg").open("rb") as image:
        shown = subprocess.run(command, stdin=image, capture_output=True, text=True, check=True)
    assert len(shown.stdout.splitlines()) == 3
    assert run(service, "classify").returncode == 2


def test_one_file_never_ends_a_run(service: Service, tmp_path: Path) -> None:
    folder, output = tmp_path / "photos", tmp_path / "results.csv"
    folder.mkdir()
    good = [f"{name}.jpg" for name in ("a", "b\u2028", "c\x85", "d\x0b", "e\r", "f\n", "g\\n", "z")]
    for seed, name in enumerate(good):
        (folder / name).write_bytes(jpeg(200, 150, seed=seed))
    (folder / "large.jpg").write_bytes(b"\xff\xd8\xff" + bytes(21 * 1024**2))
    (folder / "huge.jpg").touch()
    os.truncate(folder / "huge.jpg", 2**40)
    (folder / "empty.jpg").touch()
    for run_number in range(2):
        finished = run(service, "classify", folder, "-o", output)
        assert finished.returncode == 1, finished.stderr
        now = len(good) + 3 if run_number == 0 else 0
        assert f"{len(good) + 3} images, {now} of them now: {len(good)} classified, 3 failed" in finished.stderr
    found = rows(output)
    assert len(found) == len(good) + 3
    errors = {row["file"]: row["error"].partition(":")[0] for row in found if row["error"]}
    assert errors == {"large.jpg": "too_large", "huge.jpg": "too_large", "empty.jpg": "malformed"}


def test_a_table_goes_to_standard_output(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(200, 150))
    finished = subprocess.run(
        [COMMAND, "classify", tmp_path, "-o", "-", "--url", service.url],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    [row] = csv.DictReader(finished.stdout.splitlines())
    assert (row["file"], row["error"]) == ("a.jpg", "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_path_of_a_list_that_leads_nowhere_has_a_row_and_ends_nothing(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(200, 150))
    (tmp_path / "list").write_text("a.jpg\ngone.jpg\n")
    finished = run(service, "classify", "--from", tmp_path / "list", "-o", "-")
    assert finished.returncode == 1
    assert "2 images, 2 of them now: 1 classified, 1 failed; standard output" in finished.stderr
    errors = {Path(row["file"]).name: row["error"] for row in csv.DictReader(finished.stdout.splitlines())}
    assert errors == {"a.jpg": "", "gone.jpg": "cannot be read: No such file or directory"}
    named = run(service, "classify", tmp_path / "gone.jpg")
    assert (named.returncode, named.stderr) == (1, f"sightline: there is no {tmp_path / 'gone.jpg'}\n")


def test_lines_of_json_have_several_classes_where_they_are_asked_for(service: Service, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(jpeg(200, 150))
    lines = run(service, "classify", tmp_path, "--json", "--top-k", 3).stdout.splitlines()
    assert [len(json.loads(line)["predictions"]) for line in lines] == [3, 3]
    assert "predictions" not in json.loads(run(service, "classify", tmp_path, "--json").stdout.splitlines()[0])
    for wrong in ("0", "many"):
        refused = run(service, "classify", tmp_path, "--top-k", wrong)
        assert refused.returncode == 2
        assert f"'{wrong}' is not a whole number of at least 1" in refused.stderr


def test_a_reader_that_has_had_enough_ends_the_run_without_a_word(service: Service, photos: Path) -> None:
    command = [str(COMMAND), "--url", service.url, "classify", str(photos), "--json"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        ended_within(process, "the run has ended", 120),
    ):
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_one_image_is_answered_in_the_terminal(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(200, 150))
    finished = run(service, "classify", tmp_path / "a.jpg")
    assert finished.returncode == 0, finished.stderr
    with Client(service.url) as client:
        predictions = client.classify(jpeg(200, 150), top_k=5).predictions
    assert finished.stdout.splitlines() == [f"{prediction.score:.4f}  {prediction.label}" for prediction in predictions]


def run_locally(*arguments: object, stdin: Path | None = None) -> "subprocess.CompletedProcess[str]":
    told = os.environ | {"BUNDLES_FOLDER": str(BUNDLES), "SIGHTLINE_URL": "http://127.0.0.1:1"}
    command = [str(COMMAND), "classify", "--local", *map(str, arguments)]
    with (stdin or Path(os.devnull)).open("rb") as file:
        return subprocess.run(command, env=told, stdin=file, capture_output=True, text=True, check=False)


def test_without_a_service_the_table_is_the_same(service: Service, photos: Path, tmp_path: Path) -> None:
    for path in (REPOSITORY / "examples").rglob("*.jpg"):
        shutil.copy(path, photos)
    (photos / "empty.jpg").touch()
    (photos / "text.jpg").write_text("no image")
    (photos / "large.jpg").write_bytes(b"\xff\xd8\xff" + bytes(21 * 1024**2))
    os.truncate(photos / "large.jpg", 2**33)
    (photos / "small.gif").write_bytes(b"GIF89a")
    shutil.copy(photos / "0.jpg", photos / "line\nbreak\udcff.jpg")
    there, here = tmp_path / "there.csv", tmp_path / "here.csv"
    for finished in (run(service, "classify", photos, "-o", there), run_locally(photos, "-o", here)):
        assert finished.returncode == 1, finished.stderr
        assert "5 failed; not sent: 1 files that are no images" in finished.stderr

    def answers(path: Path) -> dict[str, tuple[str, str, str, str]]:
        with path.open(newline="", errors="surrogateescape") as file:
            found = list(csv.DictReader(file))
        assert len(found) == len({row["file"] for row in found})
        return {
            row["file"]: (row["prediction"], row["score"], row["error"].partition(":")[0], row["model_version"])
            for row in found
        }

    assert answers(here) == answers(there)
    half = here.read_bytes().splitlines(keepends=True)[:40]
    here.write_bytes(b"".join(half) + b"half a r")
    again = run_locally(photos, "-o", here)
    assert f"{len(answers(there)) - 39} of them now" in again.stderr
    assert answers(here) == answers(there)


def test_without_a_service_one_image_and_json_are_the_same(service: Service, tmp_path: Path) -> None:
    image = REPOSITORY / "examples" / "cat.jpg"
    assert run_locally(image).stdout == run(service, "classify", image).stdout
    assert run_locally("-", stdin=image).stdout == run(service, "classify", image).stdout
    there, here = (
        json.loads(each.stdout) for each in (run(service, "classify", image, "--json"), run_locally(image, "--json"))
    )
    assert here == there | {"prediction_id": ""}
    shutil.copy(image, tmp_path)
    [there], [here] = (
        [json.loads(line) for line in each.stdout.splitlines()]
        for each in (
            run(service, "classify", tmp_path, "--json", "--top-k", 3),
            run_locally(tmp_path, "--json", "--top-k", 3),
        )
    )
    assert here == {name: value for name, value in there.items() if name != "prediction_id"}
    assert len(here["predictions"]) == 3


def test_a_file_that_ends_the_local_process_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(30):
        (tmp_path / f"{seed:02}.jpg").write_bytes(jpeg(200, 150, seed=seed))
    for name in ("11.jpg", "20.jpg"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"sightline-fault:abort")
    monkeypatch.setenv("FAULT_INJECTION", "1")
    finished = run_locally(tmp_path, "-o", tmp_path / "results.csv")
    assert finished.returncode == 1
    assert "30 images, 30 of them now: 28 classified, 2 failed" in finished.stderr
    failed = {row["file"]: row["error"] for row in rows(tmp_path / "results.csv") if row["error"]}
    assert failed == dict.fromkeys(("11.jpg", "20.jpg"), "internal: the process ended with signal 6 on this file")


def test_what_keeps_a_local_run_from_working_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(bad("truncated.jpg").content)
    refused = run_locally(tmp_path / "broken.jpg")
    assert refused.returncode == 1
    assert refused.stderr.startswith("sightline: ")
    assert refused.stderr.count("\n") == 1
    told = os.environ | {"BUNDLES_FOLDER": str(tmp_path / "nothing")}
    command = [str(COMMAND), "classify", "--local", str(tmp_path), "-o", "-"]
    without = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    assert without.returncode == 1
    assert "sightline: no model can be loaded" in without.stderr
    assert without.stdout.splitlines()[1:] == []


def test_an_absent_service_ends_the_run_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(200, 150))
    for target in (tmp_path, tmp_path / "a.jpg"):
        finished = subprocess.run(
            [COMMAND, "classify", target, "--url", "http://127.0.0.1:1"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert finished.returncode == 1
        assert "make serve" in finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_wrong_answer_is_reported_by_its_id(service: Service) -> None:
    with Client(service.url) as client:
        prediction = client.classify(jpeg(), top_k=3)
    assert len(prediction.predictions) == 3
    finished = run(service, "report", prediction.id, "--label", "a chart", "--comment", "not this class")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()
    unknown = run(service, "report", "nothing")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("sightline: ")


def test_the_doctor_finds_all_well_or_says_what_is_not(service: Service) -> None:
    assert service.state_dir is not None
    port = service.url.rpartition(":")[2]
    places = {"STATE_DIR": str(service.state_dir), "BUNDLES_FOLDER": str(BUNDLES), "TRAINER": "0"}
    told = os.environ | places | {"PORT": port, "MODEL_WORKERS": "1"}  # as `service` is started
    well = subprocess.run([COMMAND, "doctor"], env=told, capture_output=True, text=True, check=False)
    assert well.returncode == 0, well.stdout
    assert "No problems found" in well.stdout
    assert "✓ worker versions  all efficientnet-lite0/1-int8" in well.stdout
    assert f"Service at {service.url}" in well.stdout
    away = subprocess.run(
        [COMMAND, "--url", "http://127.0.0.1:1", "doctor"], env=told, capture_output=True, text=True, check=False
    )
    assert away.returncode == 1
    assert "→ start it (`make serve`)" in away.stdout


def test_a_client_that_was_installed_without_a_checkout_looks_at_the_service_alone(
    service: Service, tmp_path: Path
) -> None:
    installed = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    source = shutil.copytree(REPOSITORY / "client", tmp_path / "client", ignore=shutil.ignore_patterns("*.egg-info"))
    subprocess.run([*installed, str(tmp_path / "installed"), str(source)], check=True)
    told = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}

    def command(*words: str) -> "subprocess.CompletedProcess[str]":
        line = [str(tmp_path / "installed" / "bin" / "sightline"), "--url", service.url, *words]
        return subprocess.run(line, cwd=tmp_path, env=told, capture_output=True, text=True, check=False)

    doctor = command("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "No problems found in 4 checks" in doctor.stdout
    assert "Only the service was checked" in doctor.stdout
    local = command("classify", "--local", str(REPOSITORY / "examples" / "cat.jpg"))
    assert local.returncode == 1
    assert "`classify --local` runs scripts of a checkout of Sightline" in local.stderr
    models = command("models", "list")
    assert models.returncode == 1
    assert "is in no checkout: go into one" in models.stderr


def test_what_is_wrong_is_one_line(service: Service, tmp_path: Path) -> None:
    for arguments in (["classify", tmp_path / "nowhere"], ["--url", "ftp://x", "doctor"]):
        finished = run(service, *arguments)
        assert finished.returncode == 1
        assert finished.stderr.count("\n") == 1


def test_a_refused_image_says_why(service: Service) -> None:
    with Client(service.url) as client, pytest.raises(ServiceError) as refused:
        client.classify(bad("truncated.jpg").content)
    assert refused.value.code == "image_broken"


def test_json_is_one_object_for_one_image_and_a_line_for_each_of_several(service: Service, photos: Path) -> None:
    one = run(service, "classify", "--json", photos / "0.jpg")
    found = json.loads(one.stdout)
    assert found["predictions"][0] == {"label": found["prediction"], "score": found["score"]}
    assert found["prediction_id"]
    assert found["model_version"]
    some = run(service, "classify", "--json", photos / "0.jpg", photos / "broken.jpg")
    lines = {Path(line["file"]).name: line for line in map(json.loads, some.stdout.splitlines())}
    assert lines["0.jpg"]["score"] == found["score"]
    assert lines["broken.jpg"]["error"].startswith("image_broken")
    assert some.returncode == 1
    assert not Path("results.csv").exists()
    assert run(service, "classify", "--json", photos, "-o", "x.csv").returncode == 1


@pytest.mark.parametrize("words", [(), ("classify",), ("report",), ("doctor",), ("completion",)])
def test_every_command_has_the_version(words: tuple[str, ...]) -> None:
    done = subprocess.run([COMMAND, *words, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"sightline {__version__}\n"
