"""Coverage-guided fuzzing of what the api reads; `make fuzz` runs it with api/ on PYTHONPATH."""

import contextlib
import sys
from importlib import import_module

import atheris

with atheris.instrument_imports(include=["forms", "reports", "api_keys", "signatures"]):
    # By name: the checker of types sees these tests beside model/, which has modules of the same names.
    api_keys, forms, reports, signatures = map(import_module, ("api_keys", "forms", "reports", "signatures"))

from werkzeug.exceptions import RequestEntityTooLarge


def one_input(data: bytes) -> None:
    """Parts, reports and keys, or the one refusal that each of them has."""
    with contextlib.suppress(forms.MalformedForm, RequestEntityTooLarge):
        boundary, _, body = data.partition(b"\n")
        for part in forms.parse(body, boundary or b"x"):
            assert len(part.data) <= len(body)
    text = data.decode("utf-8", "surrogateescape")
    assert len(reports.one_line(text).splitlines()) <= 1
    report = reports.parse(text)
    if report is not None:
        row = reports.row_line({"image_path": report.filename, "prediction": report.prediction, "comment": text})
        assert reports.is_whole_row(row)
        assert len(row.splitlines()) == 1
    with contextlib.suppress(api_keys.KeyFileError):
        api_keys.parse(text)
    signatures.kind_of(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
