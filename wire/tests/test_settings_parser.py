import re
from pathlib import Path

import pytest

from wire.process.limits import FORMATS
from wire.settings_parser import Declarations, Setting, SettingError


def read(**environment: str) -> Declarations:
    return Declarations(environment)


def test_a_value_has_the_type_of_its_default() -> None:
    setting = read(PORT=" 80 ", RATIO="1e-1", LOG="Yes", NAME=" x ", LEVEL="INFO")
    assert setting("PORT", 1, "A port.") == 80
    assert setting("RATIO", 1.0, "A ratio.") == 0.1
    assert setting("LOG", False, "Whether.") is True
    assert setting("NAME", "", "A name.") == "x"
    assert setting("LEVEL", "debug", "A level.", choices=("debug", "info")) == "info"


def test_a_setting_that_was_renamed_is_read_by_its_former_name_where_it_is_not_set() -> None:
    setting = read(OLD="3", OTHER="x", OTHER_NEW="4")
    assert setting("NEW", 1, "A number.", former="OLD") == 3
    assert setting("OTHER_NEW", 1, "A number.", former="OTHER") == 4
    assert [each.name for each in setting.table] == ["NEW", "OTHER_NEW"]
    with pytest.raises(SettingError, match="OTHER='x' is not"):
        setting("THIRD", 1, "A number.", former="OTHER")


@pytest.mark.parametrize("environment", [{}, {"PORT": ""}, {"PORT": " "}])
def test_without_a_value_it_is_the_default(environment: dict[str, str]) -> None:
    assert Declarations(environment)("PORT", 5000, "A port.", at_least=1) == 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http", "PORT='http' is not a whole number from 1 to 65535"),
        ("0", "PORT='0' is not a whole number from 1 to 65535"),
        ("65536", "PORT='65536' is not a whole number from 1 to 65535"),
        ("1.5", "PORT='1.5' is not a whole number from 1 to 65535"),
    ],
)
def test_a_number_that_cannot_be_used_is_named_with_its_value_and_range(text: str, message: str) -> None:
    with pytest.raises(SettingError) as refused:
        read(PORT=text)("PORT", 5000, "A port.", at_least=1, at_most=65_535)
    assert str(refused.value) == message


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1,5"])
def test_a_number_is_finite_and_not_negative_unless_declared_so(text: str) -> None:
    with pytest.raises(SettingError, match=f"TIMEOUT_S='{text}' is not a number of at least 0"):
        read(TIMEOUT_S=text)("TIMEOUT_S", 5.0, "A time.")


def test_what_is_neither_true_nor_false_is_refused() -> None:
    with pytest.raises(SettingError, match="LOG='perhaps' is neither yes nor no: give 1 or 0"):
        read(LOG="perhaps")("LOG", False, "Whether.")


def test_another_choice_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingError, match="LEVEL='loud' is unknown: give one of debug, info"):
        read(LEVEL="loud")("LEVEL", "", "A level.", choices=("", "debug", "info"))


def test_formats_are_named_by_their_names() -> None:
    assert Declarations({"FORMATS": " PNG, jpeg,"}).formats() == "jpeg,png"
    assert Declarations({}).formats().split(",") == list(FORMATS)
    for text in (",", "jpg", "jpeg,heif"):
        with pytest.raises(SettingError, match=f"FORMATS='{text}'.*heic"):
            Declarations({"FORMATS": text}).formats()


def test_a_secret_is_read_from_its_file_unless_it_is_set(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("of the file\n")
    assert read().secret("KEY", "A key.") == ("", "")
    assert read(KEY_FILE=str(file)).secret("KEY", "A key.") == ("of the file", str(file))
    assert read(KEY_FILE=str(file), KEY="set ").secret("KEY", "A key.") == ("set ", str(file))


def test_a_file_without_a_secret_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(SettingError, match=r"KEY_FILE=.*key' cannot be read: No such file"):
        read(KEY_FILE=str(file)).secret("KEY", "A key.")
    file.touch()
    with pytest.raises(SettingError, match=r"KEY_FILE=.*key' is empty: write the KEY into it"):
        read(KEY_FILE=str(file)).secret("KEY", "A key.")


def test_every_declaration_is_a_row_of_the_table() -> None:
    setting = read()
    setting("PORT", 5000, "A port.")
    setting.secret("KEY", "A key.")
    assert setting.table == [
        Setting("PORT", int, 5000, "A port."),
        Setting("KEY", str, "", "A key."),
        Setting("KEY_FILE", str, "", "File that holds KEY."),
    ]


@pytest.mark.parametrize(
    ("environment", "queue"),
    [
        ({}, "sightline"),
        ({"MODEL_CLASS": " "}, "sightline"),
        ({"MODEL_CLASS": "gpu"}, "sightline.gpu"),
        ({"MODEL_CLASS": "gpu-fp16", "REDIS_QUEUE": "own"}, "own.gpu-fp16"),
    ],
)
def test_a_class_has_a_queue_of_its_own(environment: dict[str, str], queue: str) -> None:
    assert Declarations(environment).redis()[-2] == queue


@pytest.mark.parametrize("name", ["a b", "{a}", "gpu/1", "x" * 80])
def test_a_class_that_cannot_be_part_of_a_queues_name_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=re.escape(f"MODEL_CLASS={name!r}: the queue's name")):
        Declarations({"MODEL_CLASS": name}).redis()


@pytest.mark.parametrize("url", ["mysql://me:secret@host/name", "host/name?password=secret", "sqlite:///reports"])
def test_another_database_than_postgresql_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingError, match="reports are kept in PostgreSQL: write postgresql://") as refused:
        Declarations({"DATABASE_URL": url}).database()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [("", ""), ("/", ""), ("/a", "/a"), ("/a/b", "/a/b"), ("/a/b-1/", "/a/b-1"), ("/~x/y.z", "/~x/y.z")],
)
def test_the_path_of_a_service_ends_without_a_slash(text: str, path: str) -> None:
    assert read(SCRIPT_NAME=text).script_name() == path


@pytest.mark.parametrize(
    "text", ["a", "//a", "/a//b", "/a/../b", "/.", "/a b", "/a?b", "/%61", "/é", "http://host/a", "/a;b"]
)
def test_what_is_no_path_of_a_service_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=re.escape(f"SCRIPT_NAME={text!r} is no path of a service: write a path")):
        read(SCRIPT_NAME=text).script_name()


@pytest.mark.parametrize("text", ["5\n6", "a\tb", "\udcff\udcfe", "a\x7fb"])
def test_text_that_no_setting_can_have_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(SettingError, match=r"^KEY has a line break, a control character or bytes that are not UTF-8"):
        Declarations({"KEY": text}).secret("KEY", "a key")
    with pytest.raises(SettingError, match=r"^PLACE has"):
        Declarations({"PLACE": text})("PLACE", "", "a place")


def test_a_file_of_a_secret_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match=r"^KEY_FILE=.*it is not UTF-8"):
        Declarations({"KEY_FILE": str(tmp_path / "key")}).secret("KEY", "a key")


@pytest.mark.parametrize(
    "text", ["abc", "s3.example:9000", "ftp://s3.example", "http://", "http://[", "http://x:99999"]
)
def test_what_is_no_address_of_a_server_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match=r"^S3_ENDPOINT="):
        Declarations({"S3_ENDPOINT": text}).object_storage()
    with pytest.raises(SettingError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT="):
        Declarations({"OTEL_EXPORTER_OTLP_ENDPOINT": text}).traces("tests")
    assert Declarations({"S3_ENDPOINT": "https://s3.example:9000"}).object_storage()[1] == "https://s3.example:9000"
