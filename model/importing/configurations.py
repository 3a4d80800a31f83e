"""The preprocessing that timm and Hugging Face write next to a model, as a table [preprocessing] of a bundle."""

import itertools
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from inference import files
from inference.errors import BundleError, ImportRefusedError, shown

PROCESSORS_FILE = Path(__file__).with_name("processors.toml")
PREPROCESSOR_FILE, CONFIG_FILE = "preprocessor_config.json", "config.json"
MAX_BYTES = 16 * 1024**2
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Pillow's numbers, and timm's names, of the interpolations that there are here.
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "area"}
NAMED = {name: name for name in RESAMPLE.values()} | {"box": "area"}
# ConvNext's processor stretches images for inputs of this side and more, and crops them for smaller ones.
CONVNEXT_STRETCHED = 384
SUFFIX = re.compile("(ImageProcessor|FeatureExtractor)(Fast)?$")

Config = Mapping[str, Any]
Size = tuple[int, int]  # height, width


class Fit(NamedTuple):
    """How an image becomes one of the input's size: the table's `resize`, `crop_ratio` and `size`."""

    resize: str
    crop_ratio: float
    size: Size


def near(graph: Path) -> Iterator[Path]:
    """Yield the files of a configuration next to a graph, or above its folder where that is called `onnx`."""
    folders = [graph.parent, *([graph.parent.parent] if graph.parent.name == "onnx" else [])]
    for folder, name in itertools.product(folders, (PREPROCESSOR_FILE, CONFIG_FILE)):
        if (folder / name).is_file():
            yield folder / name


def read(path: Path) -> Config:
    """Return what a file of a configuration holds; raise ImportRefusedError where it is no JSON object."""
    try:
        found = json.loads(files.read(path, MAX_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        raise ImportRefusedError(f"{path} does not exist") from None
    except (ValueError, RecursionError, BundleError) as fault:
        raise ImportRefusedError(f"{path} is no JSON file: {fault}") from None
    if not isinstance(found, dict):
        raise ImportRefusedError(f"{path} holds {shown(found)}; an object with the preprocessing is expected")
    return found


def has_preprocessing(config: Config) -> bool:
    """Return whether this describes preprocessing, and not only the network."""
    return _timm(config) is not None or _processor(config) is not None


def table(path: Path, size: Size | None) -> dict[str, Any]:
    """Return the table [preprocessing], but for the layout, that a file describes; `size` is the graph's, if fixed.

    Raise ImportRefusedError, which names the key and its value, for what no bundle can do.
    """
    config = read(path)
    try:
        if (pretrained := _timm(config)) is not None:
            return _of_timm(pretrained, size)
        if (processor := _processor(config)) is not None:
            return _of_processor(config, processor)
    except ImportRefusedError as fault:
        raise ImportRefusedError(f"{path}: {fault}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as fault:
        raise ImportRefusedError(f"{path} cannot be understood: {type(fault).__name__}: {fault}") from None
    raise ImportRefusedError(
        f"{path} does not describe the preprocessing; expected is timm's config.json (pretrained_cfg: mean, std, "
        f"crop_pct, interpolation) or Hugging Face's {PREPROCESSOR_FILE} (image_mean, image_std, size, resample)"
    )


def _timm(config: Config) -> Config | None:
    pretrained = config.get("pretrained_cfg", config)
    known = isinstance(pretrained, dict) and "mean" in pretrained and "std" in pretrained
    return pretrained if known or "pretrained_cfg" in config else None


def _of_timm(pretrained: Config, fixed: Size | None) -> dict[str, Any]:
    channels, *sides = pretrained.get("input_size") or (3, 224, 224)
    tested = pretrained.get("test_input_size")
    is_tested = fixed is not None and tested is not None and list(fixed) == list(tested[1:]) != list(sides)
    ratio = (pretrained.get("test_crop_pct") if is_tested else None) or pretrained.get("crop_pct") or 0.875
    size = fixed or (int(sides[0]), int(sides[1]))
    if channels != 3:
        raise ImportRefusedError(f"input_size = {shown(pretrained['input_size'])}; images come in 3 channels")
    mode = pretrained.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise ImportRefusedError(
            f"crop_mode = {shown(mode)}; center and squash are known: what it pads cannot be prepared here"
        )
    interpolation = pretrained.get("interpolation") or "bicubic"
    if interpolation not in NAMED:
        raise ImportRefusedError(f"interpolation = {shown(interpolation)}; one of {sorted(NAMED)} is expected")
    is_square = size[0] == size[1]
    fit = _cropped(size, [math.floor(side / ratio) for side in size], is_stretched=mode == "squash")
    # timm itself takes the bilinear one for other than square inputs, regardless of the configuration.
    chosen = NAMED[interpolation] if is_square or mode == "squash" else "bilinear"
    mean, std = pretrained.get("mean") or IMAGENET_MEAN, pretrained.get("std") or IMAGENET_STD
    return _table(fit, chosen, _three("mean", mean), _three("std", std), scale=1 / 255)


def _processor(config: Config) -> str | None:
    """Return the beginning of the name of the image processor, "" for one without a name; None where there is none."""
    name = config.get("image_processor_type") or config.get("feature_extractor_type") or ""
    is_one = bool(name) or "image_mean" in config or ("size" in config and "do_resize" in config)
    return SUFFIX.sub("", str(name)) if is_one else None


def _of_processor(config: Config, processor: str) -> dict[str, Any]:
    defaults = tomllib.loads(PROCESSORS_FILE.read_text(encoding="utf-8")).get(processor, {})
    given = {**defaults, **{key: value for key, value in config.items() if value is not None}}
    resample = _needed(given, "resample", processor)
    if resample not in RESAMPLE:
        raise ImportRefusedError(f"resample = {shown(resample)}; one of {RESAMPLE} is expected")
    for key, wanted in (("do_resize", True), ("do_pad", False), ("do_thumbnail", False), ("do_align_long_axis", False)):
        if given.get(key, wanted) is not wanted:
            raise ImportRefusedError(f"{key} = {shown(given[key])}; {str(wanted).lower()} is all that can be done here")
    scale = given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 1.0
    offset = 1.0 if given.get("rescale_offset") and given.get("do_rescale", True) else 0.0
    mean, std = [0.0] * 3, [1.0] * 3
    if given.get("do_normalize", True):
        mean, std = (_three(key, _needed(given, key, processor)) for key in ("image_mean", "image_std"))
    if given.get("include_top"):  # EfficientNet's processor divides again for networks with their classifier
        std = [one * other for one, other in zip(std, _three("image_std", given["image_std"]), strict=True)]
    mean = [each + offset for each in mean]
    channels = "BGR" if given.get("do_flip_channel_order") else "RGB"
    fit = _fit(given, processor, is_square="shortest_edge" not in defaults.get("size", {}))
    return _table(fit, RESAMPLE[resample], mean, std, scale=scale, channels=channels)


def _fit(given: Config, processor: str, *, is_square: bool) -> Fit:
    size = _needed(given, "size", processor)
    is_square = bool(given.get("default_to_square", is_square))
    edge = size if isinstance(size, int) and not is_square else None
    if isinstance(size, dict) and "shortest_edge" in size:
        if "longest_edge" in size:
            raise ImportRefusedError(f"size = {shown(size)}: images of any shape; one size is expected")
        edge = size["shortest_edge"]
    crop = _sides("crop_size", _needed(given, "crop_size", processor)) if given.get("do_center_crop") else None
    if edge is None:
        whole = _sides("size", size)
        return _cropped(crop or whole, whole, is_stretched=True)
    if processor == "ConvNext":
        scaled = edge if edge >= CONVNEXT_STRETCHED else int(edge / given["crop_pct"])
        return _cropped((edge, edge), (scaled, scaled), is_stretched=edge >= CONVNEXT_STRETCHED)
    if crop is None or crop[0] != crop[1]:
        raise ImportRefusedError(
            f"size = {shown(size)} with {'no crop' if crop is None else f'a crop of {shown(crop)}'}: the shape of the "
            "input would depend on the image; do_center_crop with a square crop_size is expected"
        )
    if processor == "Levit":
        edge = int(256 / 224 * edge)
    if processor == "PoolFormer" and given.get("crop_pct"):
        edge = int(edge / given["crop_pct"])
    return _cropped(crop, (edge, edge), is_stretched=False)


def _cropped(size: Size, scaled: "Size | list[int]", *, is_stretched: bool) -> Fit:
    """Return the fit that scales an image to this size, and takes the input's size from its middle."""
    ratios = [side / whole for side, whole in zip(size, scaled, strict=True)]
    if max(ratios) > 1:
        raise ImportRefusedError(
            f"images are scaled to {shown(tuple(scaled))} and padded to {shown(tuple(size))}; nothing is padded here"
        )
    if max(ratios) - min(ratios) > 0.02:
        raise ImportRefusedError(
            f"images are scaled to {shown(tuple(scaled))} and cropped to {shown(tuple(size))}, which is another shape"
        )
    if is_stretched:
        return Fit("stretch" if min(ratios) == 1 else "stretch-crop", min(ratios), size)
    return Fit("center-crop", min(ratios), size)


def _table(  # noqa: PLR0913  what the table is made of
    fit: Fit, interpolation: str, mean: list[float], std: list[float], *, scale: float, channels: str = "RGB"
) -> dict[str, Any]:
    """Return the table for ((x * scale) - mean) / std, of pixels x from 0 to 255."""
    return {
        "resize": fit.resize,
        "crop_ratio": round(fit.crop_ratio, 9),
        "size": list(fit.size),
        "interpolation": interpolation,
        "channels": channels,
        "mean": [round(each / scale, 6) for each in mean],
        "std": [round(each / scale, 6) for each in std],
    }


def _needed(given: Config, key: str, processor: str) -> Any:
    if key not in given:
        raise ImportRefusedError(
            f"{key} is missing, and what {processor or 'a processor without image_processor_type'} does without is not "
            f"known here; add {key}, or pass --preset"
        )
    return given[key]


def _three(key: str, value: Any) -> list[float]:
    numbers = [value] * 3 if isinstance(value, int | float) else list(value)
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise ImportRefusedError(f"{key} = {shown(value)}; a number for each of 3 channels is expected")
    return [float(each) for each in numbers]


def _sides(key: str, value: Any) -> Size:
    """Return height and width from 224, [224, 224] or {"height": 224, "width": 224}."""
    if isinstance(value, dict) and {"height", "width"} <= value.keys():
        value = [value["height"], value["width"]]
    sides = [value, value] if isinstance(value, int) else value
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(each) is int and each > 0 for each in sides):
        raise ImportRefusedError(f"{key} = {shown(value)}; a side, or height and width, is expected")
    return sides[0], sides[1]
