"""timm's and Hugging Face's preprocessing, read and compared with renditions of both by Pillow and numpy alone."""

import io
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from importing import configurations
from inference import preprocessing
from inference.errors import ImportRefusedError
from inference.model import Model, load
from inference.preprocessing import Preprocessing
from sightline_testing import photographs

Floats = np.ndarray[Any, np.dtype[np.float32]]
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
}


def timm_config(
    mean: list[float],
    std: list[float],
    *,
    crop_pct: float | str = 0.875,
    interpolation: str = "bicubic",
    size: tuple[int, int] = (224, 224),
    **more: Any,
) -> dict[str, Any]:
    """Return a config.json as timm writes it for the hub."""
    pretrained = {
        "tag": "a1_in1k",
        "custom_load": False,
        "input_size": [3, *size],
        "fixed_input_size": False,
        "interpolation": interpolation,
        "crop_pct": crop_pct,
        "crop_mode": "center",
        "mean": mean,
        "std": std,
        "num_classes": 1000,
        "pool_size": [7, 7],
        "first_conv": "conv1",
        "classifier": "fc",
    }
    return {"architecture": "resnet50", "num_classes": 1000, "num_features": 2048, "pretrained_cfg": pretrained | more}


def written(folder: Path, config: Mapping[str, Any], name: str = "config.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(config, indent=2))
    return path


def known(folder: Path, config: Mapping[str, Any], size: tuple[int, int] | None = None) -> Preprocessing:
    """Return the preprocessing of a bundle with this configuration."""
    table = configurations.table(written(folder, config), size)
    return preprocessing.from_table(table | {"layout": "NCHW"})


def centre(image: Image.Image, height: int, width: int) -> Image.Image:
    """Cut out the middle, its edges rounded as torchvision does."""
    top, left = round((image.height - height) / 2), round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))


def to_shorter(image: Image.Image, edge: int, resampling: Image.Resampling) -> Image.Image:
    """Scale an image so that its shorter side has this length, the other one rounded down."""
    scale = edge / min(image.size)
    longer = int(edge * max(image.size) / min(image.size))
    size = (edge, longer) if image.width <= image.height else (longer, edge)
    assert scale > 0
    return image.resize(size, resampling)


def normalised(image: Image.Image, mean: list[float], std: list[float], scale: float = 1 / 255) -> Floats:
    pixels = np.asarray(image).astype(np.float32) * np.float32(scale)
    result: Floats = np.divide(pixels - np.array(mean, np.float32), np.array(std, np.float32))
    return result


def by_timm(image: Image.Image, config: Mapping[str, Any]) -> Floats:
    """Evaluate an image as timm's create_transform would."""
    told = config["pretrained_cfg"]
    _, height, width = told["input_size"]
    scaled = [math.floor(side / told["crop_pct"]) for side in (height, width)]
    resampling = PILLOW[told["interpolation"]]
    if told["crop_mode"] == "squash":
        whole = image.resize((scaled[1], scaled[0]), resampling)
    elif height == width:
        whole = to_shorter(image, scaled[0], resampling)
    else:
        ratio = min(image.height / scaled[0], image.width / scaled[1])
        whole = image.resize((round(image.width / ratio), round(image.height / ratio)), PILLOW["bilinear"])
    return normalised(centre(whole, height, width), told["mean"], told["std"])


def by_processor(image: Image.Image, told: Mapping[str, Any]) -> Floats:
    """Evaluate an image as a Hugging Face image processor with all of its keys would."""
    size, resampling = told["size"], Image.Resampling(told["resample"])
    if "shortest_edge" in size:
        whole = to_shorter(image, size["shortest_edge"], resampling)
    else:
        whole = image.resize((size["width"], size["height"]), resampling)
    if told.get("do_center_crop"):
        crop = told["crop_size"]
        whole = centre(whole, crop["height"], crop["width"])
    return normalised(whole, told["image_mean"], told["image_std"], told["rescale_factor"])


def processor(kind: str, mean: list[float], std: list[float], size: Any, **more: Any) -> dict[str, Any]:
    """Return a preprocessor_config.json with all of its keys."""
    usual = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": mean,
        "image_processor_type": kind,
        "image_std": std,
        "resample": 3,
        "rescale_factor": 0.00392156862745098,
        "size": size,
    }
    return usual | more


CROP = {"height": 224, "width": 224}
PIPELINES: dict[str, tuple[dict[str, Any], Any]] = {
    "timm, bilinear 0.875": (timm_config(*IMAGENET, interpolation="bilinear"), by_timm),
    "timm, bicubic 0.875": (timm_config(*IMAGENET), by_timm),
    "timm, bicubic 0.9": (timm_config(*HALF, crop_pct=0.9), by_timm),
    "timm, bicubic 0.95": (timm_config(*IMAGENET, crop_pct=0.95), by_timm),
    "timm, bicubic 1.0": (timm_config(*CLIP, crop_pct=1.0), by_timm),
    "timm, lanczos 0.95": (timm_config(*IMAGENET, crop_pct=0.95, interpolation="lanczos"), by_timm),
    "timm, squash 1.0": (timm_config(*CLIP, crop_pct=1.0, crop_mode="squash"), by_timm),
    "timm, squash 0.95": (timm_config(*IMAGENET, crop_pct=0.95, crop_mode="squash"), by_timm),
    "timm, 160 by 288": (timm_config(*IMAGENET, crop_pct=0.95, size=(160, 288)), by_timm),
    "ViT": (processor("ViTImageProcessor", *HALF, CROP, resample=2), by_processor),
    "DeiT": (
        processor("DeiTImageProcessor", *IMAGENET, {"height": 256, "width": 256}, do_center_crop=True, crop_size=CROP),
        by_processor,
    ),
    "CLIP": (
        processor("CLIPImageProcessor", *CLIP, {"shortest_edge": 224}, do_center_crop=True, crop_size=CROP),
        by_processor,
    ),
    "MobileNetV2": (
        processor(
            "MobileNetV2ImageProcessor", *HALF, {"shortest_edge": 256}, do_center_crop=True, crop_size=CROP, resample=2
        ),
        by_processor,
    ),
    "DINOv2": (
        processor("BitImageProcessor", *IMAGENET, {"shortest_edge": 256}, do_center_crop=True, crop_size=CROP),
        by_processor,
    ),
}
# Of 255, averaged over all pixels of all photographs: where the part of the image is the same, and where it may lie
# shifted by half a pixel, since the libraries round edges after they have scaled the image. So many keep their label.
SAME_PART, MOST_DEVIATION, LEAST_ALIKE = 1.4, 8.5, 0.85
EVERY = 1 if os.environ.get("FULL") else 4


@pytest.fixture(scope="module")
def model(bundles: Path) -> Model:
    return load(bundles / "efficientnet-lite0" / "1-int8", "openvino", streams=2, cores=2)


@pytest.fixture(scope="module")
def hundred() -> list[tuple[bytes, Image.Image]]:
    """Each photograph's bytes, and the image that Pillow makes of them."""
    contents = [photograph.path.read_bytes() for photograph in photographs.required()[::EVERY]]
    return [(content, Image.open(io.BytesIO(content)).convert("RGB")) for content in contents]


def classified(model: Model, pixels: np.ndarray[Any, Any]) -> list[int]:
    """Return the classes of the default network for these pixels, in a square of its own size."""
    squares = [
        each if each.shape[:2] == (224, 224) else np.asarray(Image.fromarray(each).resize((224, 224)))
        for each in pixels
    ]
    return [int(each) for each in model.predict(np.stack(squares)).argmax(axis=1)]


@pytest.mark.parametrize("name", PIPELINES)
def test_a_bundle_prepares_the_photographs_as_the_library_would(
    tmp_path: Path, model: Model, hundred: list[tuple[bytes, Image.Image]], name: str
) -> None:
    config, rendition = PIPELINES[name]
    own = known(tmp_path, config)
    found = np.empty((len(hundred), *own.size, 3), np.uint8)
    expected, same_part = np.empty_like(found), np.empty_like(found)
    filtered = PILLOW[own.interpolation]
    for at, (content, image) in enumerate(hundred):
        own.prepare(content, found[at])
        tensor = rendition(image, config)
        # Back to pixels by the bundle's own numbers: what is left are the differences of the images.
        same_part[at] = np.asarray(image.resize((own.size[1], own.size[0]), filtered, own.box(*image.size)))
        expected[at] = (tensor * np.array(own.std, np.float32) + np.array(own.mean, np.float32)).round().clip(0, 255)
    deviation, inner = (cv2.absdiff(found, each).mean() for each in (expected, same_part))
    alike = np.mean(np.equal(classified(model, found), classified(model, expected)))
    figures = f"{name}: deviation {deviation:.2f}, {inner:.2f} of the same part, {alike:.0%} with the same label"
    print(figures)  # noqa: T201
    assert deviation < MOST_DEVIATION, figures
    assert inner < SAME_PART, figures
    assert alike >= LEAST_ALIKE, figures


def read(folder: Path, config: Mapping[str, Any], size: tuple[int, int] | None = None) -> tuple[Any, ...]:
    """Return resize, ratio, size, interpolation and channels of a configuration."""
    own = known(folder, config, size)
    return own.resize, round(own.crop_ratio, 4), own.size, own.interpolation, own.channels


def test_timm_is_read_to_the_pixel(tmp_path: Path) -> None:
    assert read(tmp_path, timm_config(*IMAGENET, crop_pct=0.9)) == ("center-crop", 0.9032, (224, 224), "bicubic", "RGB")
    own = known(tmp_path, timm_config(*CLIP))
    assert own.mean == pytest.approx([255 * each for each in CLIP[0]], abs=1e-5)
    assert own.std == pytest.approx([255 * each for each in CLIP[1]], abs=1e-5)
    tested = timm_config(*IMAGENET, test_input_size=[3, 288, 288], test_crop_pct=1.0)
    assert read(tmp_path, tested, (288, 288))[:3] == ("center-crop", 1.0, (288, 288))
    assert read(tmp_path, tested, (224, 224))[:3] == ("center-crop", 0.875, (224, 224))
    assert read(tmp_path, tested["pretrained_cfg"])[1] == 0.875  # as timm wrote it before 0.8
    # timm takes its own filter for what is not square, unless the image is squashed into it.
    assert read(tmp_path, timm_config(*IMAGENET, size=(160, 288)))[2:4] == ((160, 288), "bilinear")
    squashed = timm_config(*IMAGENET, size=(160, 288), crop_mode="squash", crop_pct=1.0)
    assert read(tmp_path, squashed)[:4] == ("stretch", 1.0, (160, 288), "bicubic")
    for name in PILLOW:
        read_as = read(tmp_path, timm_config(*IMAGENET, interpolation=name))[3]
        assert read_as == ("area" if name == "box" else name)
    bare = {"pretrained_cfg": {"architecture": "resnet18"}}
    assert read(tmp_path, bare) == ("center-crop", 0.875, (224, 224), "bicubic", "RGB")


LEGACY_VIT = {"do_normalize": True, "do_resize": True, "image_mean": HALF[0], "image_std": HALF[1], "size": 224}
PROCESSORS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    (
        LEGACY_VIT | {"feature_extractor_type": "ViTFeatureExtractor", "resample": 2},
        ("stretch", 1, (224, 224), "bilinear", "RGB"),
    ),
    ({"image_processor_type": "ViTImageProcessor"}, ("stretch", 1, (224, 224), "bilinear", "RGB")),
    ({"image_processor_type": "ViTImageProcessorFast"}, ("stretch", 1, (224, 224), "bilinear", "RGB")),
    (
        {"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224},
        ("stretch-crop", 0.875, (224, 224), "bicubic", "RGB"),
    ),
    (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875, "resample": 3},
        ("center-crop", 0.875, (224, 224), "bicubic", "RGB"),
    ),
    (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": None},
        ("center-crop", 0.875, (224, 224), "bilinear", "RGB"),
    ),
    (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
        ("stretch", 1, (384, 384), "bilinear", "RGB"),
    ),
    (
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224},
        ("center-crop", 1, (224, 224), "bicubic", "RGB"),
    ),
    (
        {"feature_extractor_type": "LevitFeatureExtractor", "size": 224},
        ("center-crop", 0.875, (224, 224), "bicubic", "RGB"),
    ),
    (
        {"image_processor_type": "PoolFormerImageProcessor", "crop_pct": 0.95},
        ("center-crop", 0.9532, (224, 224), "bicubic", "RGB"),
    ),
    (
        {"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 288}},
        ("center-crop", 0.8889, (256, 256), "bilinear", "BGR"),
    ),
    (
        {"image_processor_type": "EfficientNetImageProcessor", "size": {"height": 224, "width": 224}},
        ("stretch", 1, (224, 224), "nearest", "RGB"),
    ),
    (
        {"image_processor_type": "BeitImageProcessor", "do_center_crop": False, "size": {"height": 224, "width": 224}},
        ("stretch", 1, (224, 224), "bicubic", "RGB"),
    ),
]


@pytest.mark.parametrize(("config", "expected"), PROCESSORS)
def test_what_a_processor_leaves_out_is_what_its_class_does(
    tmp_path: Path, config: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    assert read(tmp_path, config) == expected


def test_numbers_of_a_processor_become_those_of_pixels(tmp_path: Path) -> None:
    base = {"image_processor_type": "ViTImageProcessor", "image_mean": HALF[0], "image_std": HALF[1]}
    for more, mean, std in (
        ({}, 127.5, 127.5),
        ({"rescale_factor": 1 / 127.5}, 63.75, 63.75),
        ({"do_rescale": False}, 0.5, 0.5),
        ({"do_normalize": False}, 0, 255),
        ({"image_mean": 0.5, "image_std": [0.25]}, 127.5, 63.75),
        (
            {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True, "rescale_factor": 1 / 127.5},
            191.25,
            31.875,
        ),
        ({"image_processor_type": "MobileViTImageProcessor", "size": {"shortest_edge": 288}}, 0, 255),
    ):
        own = known(tmp_path, base | more)
        assert (*own.mean, *own.std) == pytest.approx([mean] * 3 + [std] * 3), more


REFUSED: list[tuple[dict[str, Any], str]] = [
    (timm_config(*IMAGENET, crop_mode="border"), "crop_mode = 'border'; center and squash are known"),
    (timm_config(*IMAGENET, interpolation="hamming"), "interpolation = 'hamming'"),
    (timm_config(*IMAGENET, input_size=[1, 28, 28]), "input_size = [1, 28, 28]; images come in 3 channels"),
    (timm_config([0.5], [0.5, 0.5]), "std = [0.5, 0.5]; a number for each of 3 channels"),
    (timm_config(*IMAGENET, crop_pct="all"), "cannot be understood"),
    (timm_config(*IMAGENET, input_size=[3, 224]), "cannot be understood"),
    (timm_config(*IMAGENET, crop_pct=1.1), "nothing is padded here"),
    ({"image_processor_type": "OwnImageProcessor", "size": 224}, "resample is missing, and what Own does without"),
    (processor("ViTImageProcessor", *HALF, {"shortest_edge": 224}), "the shape of the input would depend on the image"),
    (processor("ViTImageProcessor", *HALF, {"longest_edge": 224}), "size = {'longest_edge': 224}"),
    (processor("ViTImageProcessor", *HALF, CROP, resample=5), "resample = 5"),
    (processor("ViTImageProcessor", *HALF, CROP, do_resize=False), "do_resize = False"),
    (processor("ViTImageProcessor", *HALF, CROP, do_pad=True), "do_pad = True"),
    (
        processor("CLIPImageProcessor", *CLIP, {"shortest_edge": 224}, do_center_crop=True, crop_size=256),
        "scaled to (224, 224) and padded to (256, 256)",
    ),
    ({"model_type": "resnet", "id2label": {"0": "a"}}, "does not describe the preprocessing"),
]


@pytest.mark.parametrize(("config", "told"), REFUSED)
def test_what_no_bundle_can_do_is_refused_with_its_key_and_value(
    tmp_path: Path, config: dict[str, Any], told: str
) -> None:
    path = written(tmp_path, config)
    with pytest.raises(ImportRefusedError) as refused:
        configurations.table(path, None)
    assert told in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 10_000])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ImportRefusedError, match=r"config\.json"):
        configurations.table(path, None)
