from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import settings
from cli import accuracy
from inference import model
from inference.arrays import Batch
from inference.model import Model
from sightline_testing import photographs, sample_images


@pytest.fixture(autouse=True)
def installed(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(bundles))


def by_pillow(content: bytes) -> Batch:
    """The reference: everything by Pillow, nothing scaled while decoding, bicubic."""
    image = ImageOps.exif_transpose(Image.open(BytesIO(content))).convert("RGB")
    side = min(image.size) * 0.875
    left, top = (image.width - side) / 2, (image.height - side) / 2
    square = image.resize((224, 224), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.array(square)[None]


def by_our_own(judged: Model, content: bytes) -> Batch:
    pixels = judged.new_batch(1)
    judged.prepare(content, pixels[0])
    return pixels


def test_int8_and_the_fast_decoder_are_as_good_as_fp32_and_pillow(bundles: Path) -> None:
    seen = photographs.required()
    fast, exact = (
        model.load(bundles / "efficientnet-lite0" / version, "openvino", streams=1, cores=1)
        for version in ("1-int8", "1-fp32")
    )
    ours, theirs = [], []
    for photograph in seen:
        content = photograph.path.read_bytes()
        ours.append(fast.top_k(fast.predict(by_our_own(fast, content))[0], 1)[0][0])
        theirs.append(exact.top_k(exact.predict(by_pillow(content))[0], 1)[0][0])
    right = [sum(found == each.label for found, each in zip(names, seen, strict=True)) for names in (ours, theirs)]
    assert right[0] >= right[1] - 2 * len(seen) // 100
    assert right[0] >= 85 * len(seen) // 100
    assert sum(one == other for one, other in zip(ours, theirs, strict=True)) >= 96 * len(seen) // 100


def test_the_command_reports_folders_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in (sample_images.SCENE_LABEL, "tench"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "clock.jpg").write_bytes(sample_images.jpeg())
    (tmp_path / "tench" / "notes.txt").write_text("no image")
    assert accuracy.main([str(tmp_path), "--bundle", "efficientnet-lite0/1-int8"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("efficientnet-lite0/1-int8 with openvino: top-1 50.0%, top-5 50.0%, of 2 images")


def test_the_command_reports_files_by_wordnet_id(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "classes.csv").write_text(f"index,wnid,label\n1,n02708093,{sample_images.SCENE_LABEL}\n")
    (tmp_path / "n02708093_clock.JPEG").write_bytes(sample_images.jpeg())
    assert accuracy.main([str(tmp_path)]) == 0
    assert "top-1 100.0%" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "told"), [("empty", "no labelled images"), ("unknown", "n00000000")])
def test_the_command_says_why_it_cannot_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    (tmp_path / name).mkdir()
    if name == "unknown":
        (tmp_path / name / "n00000000_clock.JPEG").write_bytes(sample_images.jpeg())
    assert accuracy.main([str(tmp_path / name)]) == 1
    assert told in capsys.readouterr().err
