"""Coverage-guided fuzzing of what the api reads; `make fuzz` runs it with api/ on PYTHONPATH."""

import contextlib
import sys
from importlib import import_module

import atheris

from wire.tables.csv_table import one_line
from wire.tables.feedback import REPORTS

MODULES = (
    "auth.api_keys",
    "images.multipart",
    "protocols.open_inference",
    "reports.schema",
    "utils",
)

with atheris.instrument_imports(include=[*MODULES, "images.uploads", "images.json_stream"]):
    # By name: the checker of types reads these tests with model/, which has modules of the same names.
    api_keys, forms, open_inference, reports, signatures = map(import_module, MODULES)


def one_input(data: bytes) -> None:
    """Parts, tensors, reports and keys, or the one refusal that each of them has."""
    head, _, body = data.partition(b"\n")
    with contextlib.suppress(forms.MalformedForm, forms.Problem):
        for part in forms.parse(body, head or b"x"):
            assert len(part.data) <= len(body)
    with contextlib.suppress(open_inference.Problem):
        asked = open_inference.parse(body, head.decode("latin-1") or None)
        assert 1 <= asked.top_k(1000) <= 1000
    text = data.decode("utf-8", "surrogateescape")
    assert len(one_line(text).splitlines()) <= 1
    report = reports.parse(text)
    if report is not None:
        check_row({"image_path": report.filename, "prediction": report.prediction, "comment": text})
    with contextlib.suppress(api_keys.KeyFileError):
        api_keys.parse(text)
    signatures.kind_of(data)


def check_row(cells: dict[str, str]) -> None:
    """One line, whole, and the same again when it is read."""
    row = REPORTS.line(cells)
    assert not REPORTS.is_torn(row)
    assert len(row.splitlines()) == 1
    read = REPORTS.read(row)
    assert read is not None
    assert {name: read[name] for name in cells} == {name: one_line(cell) for name, cell in cells.items()}


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
