"""What the bundles of set-up are: their names, what stands in bundle.toml, and the SHA-256 of every file."""

import csv
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from default_model.variants import LITE0, Variant

HERE = Path(__file__).parent
GOLDEN_FILE = HERE / "golden.toml"
LABELS_FILE = "labels.txt"
MODEL_FILE = "model.onnx"
FEATURE_BANK_FILE = "feature_bank.npz"
DESCRIPTION_FILE = "bundle.toml"


class Precision(StrEnum):
    """How the numbers of a graph are held."""

    INT8 = "int8"
    FP32 = "fp32"


@dataclass(frozen=True)
class Recipe:
    """One of the bundles that set-up makes."""

    precision: Precision
    variant: Variant = LITE0

    @property
    def version(self) -> str:
        """Return the version of the bundle, which is the name of its folder."""
        return f"1-{self.precision}"

    @property
    def identity(self) -> str:
        """Return the bundle's place below the folder of bundles, and what stands in `active`."""
        return f"{self.variant.name}/{self.version}"

    def files(self) -> dict[str, str]:
        """Return the SHA-256 that each file of the bundle must have, bundle.toml aside."""
        sha256 = golden()["sha256"]
        files = {MODEL_FILE: sha256.get(self.identity, ""), LABELS_FILE: sha256["labels"]}
        return files | ({FEATURE_BANK_FILE: sha256[self.feature_bank.stem]} if self.feature_bank else {})

    @property
    def feature_bank(self) -> Path | None:
        """Return the file of features of photographs that the bundle carries; README.md names their source."""
        return HERE / f"feature_bank-{self.precision}.npz" if self.variant.has_feature_bank else None

    def description(self) -> str:
        """Return the text of bundle.toml."""
        files = "".join(f'"{name}" = "{sha256}"\n' for name, sha256 in self.files().items())
        return DESCRIPTION.format(variant=self.variant, version=self.version, precision=self.precision, files=files)


# (x - 127) / 128 is what these weights were trained with; with the usual ImageNet mean and deviation the same
# photographs are recognised nine per cent less often.
DESCRIPTION = """\
schema = 1
name = "{variant.name}"
version = "{version}"
precision = "{precision}"

[preprocessing]
resize = "center-crop"
crop_ratio = {variant.crop_ratio}
size = [{variant.input_size}, {variant.input_size}]
interpolation = "bicubic"
channels = "RGB"
mean = [127.0, 127.0, 127.0]
std = [128.0, 128.0, 128.0]
layout = "NCHW"

[output]
kind = "logits"

[files]
{files}"""


def labels() -> list[str]:
    """Return the 1000 labels in the order of the model's output."""
    with (HERE / "classes.csv").open(encoding="utf-8", newline="") as file:
        return [row["label"] for row in csv.DictReader(file)]


def label_bytes() -> bytes:
    """Return labels.txt: one label a line, in the order of the model's output."""
    return "".join(f"{label}\n" for label in labels()).encode()


def golden() -> dict[str, Any]:
    """Return what a build must come to: see golden.toml."""
    return tomllib.loads(GOLDEN_FILE.read_text(encoding="utf-8"))
