from collections.abc import Callable
from pathlib import Path

import pytest

import settings
from cli import command, dead_letters, evaluate, models
from inference.errors import VersionError
from wire import __version__


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


def test_progress_passes_everything_through_and_ends_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(command.progress("images", 3, "abc")) == ["a", "b", "c"]
    assert capsys.readouterr().out.startswith("images: 3/3 in 0.")


@pytest.mark.parametrize("main", [models.main, evaluate.main, dead_letters.main])
def test_a_command_prints_the_version(main: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"sightline {__version__}\n"
