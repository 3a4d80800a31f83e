import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import settings
from cli import command, dead_letters, evaluate, improve, models
from inference.errors import VersionError
from wire import __version__

MODEL = Path(__file__).parents[2]


def test_options_that_were_renamed_are_understood_by_their_old_names() -> None:
    parser = command.parser("")
    command.add_limits(parser, 2000, 400)
    assert vars(parser.parse_args([])) == {"max_cases": 2000, "max_traffic": 400}
    assert vars(parser.parse_args(["--most-cases", "3", "--max-traffic", "4"])) == {"max_cases": 3, "max_traffic": 4}
    assert "--most" not in parser.format_help()


def test_a_share_beyond_one_is_refused_under_both_names(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("--max-accuracy-drop", "--most-loss", "--min-agreement", "--least-agreement"):
        with pytest.raises(SystemExit):
            models.main(["promote", "2-int8", name, "1.5"])
        assert "1.5 is no share" in capsys.readouterr().err


def test_folders_that_the_settings_name_are_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "feedback").mkdir()
    monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(tmp_path / "feedback" / "feedback"))
    parser = command.parser("")
    command.add_folders(parser)
    assert parser.parse_args([]).feedback == tmp_path / "feedback"


def test_an_error_is_a_sentence_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise VersionError("'9' is no version")

    assert command.run(fail, "nothing was changed") == 1
    assert capsys.readouterr().err == "nothing was changed: '9' is no version\n"


def test_progress_shows_the_time_that_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "LINE_EVERY_S", 0.0)
    assert list(command.progress("fitting", 2, "ab")) == ["a", "b"]
    assert capsys.readouterr().out.startswith("fitting: 1/2, 0 s left\nfitting: 2/2 in 0.0 s\n")


def test_progress_passes_everything_through_and_ends_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(command.progress("images", 3, "abc")) == ["a", "b", "c"]
    assert capsys.readouterr().out.startswith("images: 3/3 in 0.")


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (models.main, ()),
        (models.main, ("import",)),
        (evaluate.main, ()),
        (improve.main, ()),
        (dead_letters.main, ()),
    ],
)
def test_a_command_prints_the_version(
    main: Callable[[list[str]], int], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*words, "--version"])
    assert capsys.readouterr().out == f"sightline {__version__}\n"


def test_the_name_of_a_new_version_is_understood_under_its_old_name(capsys: pytest.CaptureFixture[str]) -> None:
    parser = command.parser("")
    command.add_new_version(parser, "")
    assert vars(parser.parse_args([])) == {"new_version": "", "version": None}
    assert parser.parse_args(["--new-version", "a"]).new_version == "a"
    assert capsys.readouterr().err == ""
    for words in (["--version", "a"], ["--version=a"]):
        assert parser.parse_args(words).new_version == "a"
        assert capsys.readouterr().err == "--version a is deprecated: use --new-version a\n"


def test_listing_versions_loads_no_engine(bundles: Path) -> None:
    program = (
        "import sys\n"
        "from cli import models\n"
        "assert models.main(['list']) == 0\n"
        "assert not {'openvino', 'onnxruntime'} & sys.modules.keys()\n"
    )
    environment = os.environ | {"BUNDLES_FOLDER": str(bundles)}
    subprocess.run([sys.executable, "-c", program], cwd=MODEL, env=environment, check=True)
