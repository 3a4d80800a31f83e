import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder, stream_encode_multipart
from werkzeug.wrappers import Request

from images import multipart
from images.multipart import MalformedForm, MemoryRequest, Part
from problems import Problem

BOUNDARY = b"----sightline"
PART = b'Content-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
# Bytes that often form boundaries, line ends and near misses of them.
tricky = st.lists(st.sampled_from([b"\r\n", b"--", b"-", b"\r", b"\n", b"----sightlin", b"x", b"\0", b"\xff"])).map(
    b"".join
)


def body(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    return b"".join(b"--" + BOUNDARY + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + BOUNDARY + end


def test_a_file_and_a_field_are_found() -> None:
    form = body(PART + b"\xff\xd8", b'Content-Disposition: form-data; name="report"\r\n\r\nwrong \xc3\xa9')
    assert multipart.parse(form, BOUNDARY) == [
        Part("file", "a.jpg", "image/jpeg", b"\xff\xd8"),
        Part("report", None, "", b"wrong \xc3\xa9"),
    ]


@given(content=st.one_of(tricky, st.binary()))
def test_every_content_comes_out_as_it_went_in(content: bytes) -> None:
    [part] = multipart.parse(body(PART + content), BOUNDARY)
    assert part.data == content


@given(content=st.one_of(tricky, st.binary()), name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_forms_are_understood_as_the_framework_writes_them(content: bytes, name: str) -> None:
    stream, length, boundary = stream_encode_multipart(
        {"note": name, "file": FileStorage(io.BytesIO(content), "a.png", content_type="image/png")}
    )
    fields, files = parsed(stream.read(length), boundary)
    assert fields == {"note": name}
    assert files == {"file": ("a.png", content)}


def parsed(content: bytes, boundary: str) -> tuple[dict[str, str], dict[str, tuple[str | None, bytes]]]:
    environ = EnvironBuilder(
        method="POST", data=content, content_type=f"multipart/form-data; boundary={boundary}"
    ).get_environ()
    request = MemoryRequest(environ)
    files = {name: (file.filename, file.read()) for name, file in request.files.items()}
    return request.form.to_dict(), files


def test_text_before_and_after_the_form_is_passed_over() -> None:
    assert len(multipart.parse(b"preamble\r\n" + body(PART + b"x", end=b"--\r\nepilogue"), BOUNDARY)) == 1


def test_a_boundary_s_line_may_end_in_blanks() -> None:
    assert len(multipart.parse(body(PART + b"x").replace(BOUNDARY + b"\r\nC", BOUNDARY + b" \t\r\nC"), BOUNDARY)) == 1


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"no boundary at all",
        b"--" + BOUNDARY,
        b"--" + BOUNDARY + b"\r\n" + PART + b"cut off",
        b"--" + BOUNDARY + b"\r\n" + PART.rstrip(),
        b"--" + BOUNDARY + b"\r" + PART.replace(b"\r\n", b"\r") + b"x\r--" + BOUNDARY + b"--\r",
        body(b"Content-Type: image/jpeg\r\n\r\nno name"),
        body(b'Content-Disposition: attachment; name="file"\r\n\r\nno form'),
        body(b"Content-Disposition: form-data\r\n\r\nno name"),
        body(PART + b"x", end=b"junk\r\n"),
        body(PART + b"x").replace(BOUNDARY, BOUNDARY + b"junk", 1),
    ],
)
def test_what_is_no_form_is_refused(form: bytes) -> None:
    with pytest.raises(MalformedForm):
        multipart.parse(form, BOUNDARY)


@given(cut=st.integers(0, 400), content=tricky)
def test_a_form_cut_short_never_gives_its_last_part(cut: int, content: bytes) -> None:
    whole = body(PART + content)
    try:
        parts = multipart.parse(whole[: max(0, len(whole) - len(b"--\r\n") - 1 - cut)], BOUNDARY)
    except MalformedForm:
        parts = []
    assert parts == []


@given(noise=st.one_of(st.binary(), tricky), boundary=st.sampled_from([b"", BOUNDARY, b"-", b"\r\n"]))
def test_no_bytes_raise_anything_but_the_two_errors(noise: bytes, boundary: bytes) -> None:
    with suppress(MalformedForm, Problem):
        multipart.parse(noise, boundary)


FIELD = b'Content-Disposition: form-data; name="note"\r\n\r\nx'


@pytest.mark.parametrize("file", [PART + b"x", FIELD[:-1] + b"\xff\xd8\xff\0"])
def test_files_and_text_fields_have_a_limit_each(file: bytes) -> None:
    most = [FIELD, file] * multipart.MAX_IMAGES + [FIELD] * (multipart.MAX_TEXT_FIELDS - multipart.MAX_IMAGES)
    assert len(multipart.parse(body(*most), BOUNDARY)) == multipart.MAX_IMAGES + multipart.MAX_TEXT_FIELDS
    for one_more, told in ((file, "more than 16 files"), (FIELD, "more than 100 text fields")):
        with pytest.raises(Problem, match=told) as caught:
            multipart.parse(body(*most, one_more), BOUNDARY)
        assert caught.value.status == 413


def with_lf(form: bytes) -> bytes:
    return form.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    "form",
    [
        with_lf(body(PART + b"\xff\xd8")),
        b"preamble\n" + with_lf(body(PART + b"\xff\xd8")),
        with_lf(body(PART + b"\xff\xd8", end=b"--")),
        b"--" + BOUNDARY + b"\n" + with_lf(PART) + b"\xff\xd8\r\n--" + BOUNDARY + b"--\r\n",
        body(PART.replace(b"\r\n", b"\n") + b"\xff\xd8"),
        body(PART.replace(b"; file", b";\r\n file") + b"\xff\xd8"),
        body(PART.replace(b"; file", b";\r\n\t  file") + b"\xff\xd8"),
        body(PART.replace(b"form-data", b"\r\n form-data") + b"\xff\xd8"),
        with_lf(body(PART.replace(b"; file", b";\r\n\tfile") + b"\xff\xd8")),
        with_lf(body(PART + b"\xff\xd8")).replace(BOUNDARY + b"\n", BOUNDARY + b" \n"),
    ],
)
def test_forms_by_hand_are_read_as_the_framework_reads_them(form: bytes) -> None:
    environ = EnvironBuilder(
        method="POST", data=form, content_type=f"multipart/form-data; boundary={BOUNDARY.decode()}"
    ).get_environ()
    with Request(environ) as request:  # the framework's own keeps each file in a temporary one
        files = {name: (file.filename, file.read()) for name, file in request.files.items()}
    assert files == {"file": ("a.jpg", b"\xff\xd8")}
    assert parsed(form, BOUNDARY.decode()) == ({}, files)


@given(content=st.one_of(tricky, st.binary()))
def test_every_content_of_a_form_with_lf_comes_out_as_it_went_in(content: bytes) -> None:
    form = b"--%b\n%b%b\n--%b--\n" % (BOUNDARY, with_lf(PART), content, BOUNDARY)
    [part] = multipart.parse(form, BOUNDARY)
    assert part.data == content


def test_a_part_s_head_is_bounded() -> None:
    with pytest.raises(MalformedForm):
        multipart.parse(body(b"X-Long: " + b"x" * multipart.MAX_HEAD_BYTES + b"\r\n" + PART + b"x"), BOUNDARY)


@pytest.mark.parametrize("special", [b";a=b", b'\\"', b';a="'])
def test_what_a_part_s_head_lists_is_bounded(special: bytes) -> None:
    with pytest.raises(MalformedForm, match="semicolons"):
        multipart.parse(body(b'Content-Disposition: form-data; name="' + special * 1900 + b'"\r\n\r\nx'), BOUNDARY)


def test_fields_are_bounded_together() -> None:
    field = b'Content-Disposition: form-data; name="note"\r\n\r\n' + b"x" * (multipart.MAX_FIELD_BYTES // 2 + 1)
    with pytest.raises(Problem, match="more than 262144 bytes"):
        parsed(body(field, field), BOUNDARY.decode())


@pytest.mark.parametrize("boundary", ["", "other"])
def test_a_malformed_form_reads_as_an_empty_one(boundary: str) -> None:
    assert parsed(body(PART + b"x"), boundary) == ({}, {})
