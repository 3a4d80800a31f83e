"""Colour profiles made by code: sRGB and the wider spaces of phones, cameras and photographers."""

import io
import struct
from functools import cache

import numpy as np
from PIL import Image, ImageCms

D50 = (0.9642, 1.0, 0.8249)
D65, D50_XY = (0.3127, 0.3290), (0.3457, 0.3585)
# Red, green, blue and white as x and y, and the gamma; 0 for that of sRGB, which is partly linear.
SPACES = {
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65, 0.0),
    "Display P3": ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), D65, 0.0),
    "Adobe RGB": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65, 2.2),
    "ProPhoto": ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), D50_XY, 1.8),
}
WIDE = ("Display P3", "Adobe RGB", "ProPhoto")
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@cache
def profile(name: str) -> bytes:
    """Return the ICC profile (version 2, a matrix and a curve) of one of SPACES."""
    *primaries, white, gamma = SPACES[name]
    columns = np.array([_xyz(each) for each in primaries]).T
    scaled = columns * np.linalg.solve(columns, _xyz(white))
    gains = (BRADFORD @ np.array(D50)) / (BRADFORD @ _xyz(white))
    matrix = np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD @ scaled
    curve = _curve(gamma)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name.encode() + bytes(1 + 78),
        b"cprt": b"text" + bytes(4) + b"made by code\0",
        b"wtpt": _triple(D50),
        **{tag: _triple(matrix[:, at]) for at, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _packed(tags)


def _xyz(chromaticity: tuple[float, float]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    x, y = chromaticity
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _triple(values: "np.ndarray[tuple[int], np.dtype[np.float64]] | tuple[float, ...]") -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65_536) for value in values))


def _curve(gamma: float) -> bytes:
    if gamma:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    levels = np.linspace(0, 1, 1_024)
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return b"curv" + bytes(4) + struct.pack(">I1024H", 1_024, *(light * 65_535).round().astype(int))


def _packed(tags: dict[bytes, bytes]) -> bytes:
    table, data, at = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        table += struct.pack(">4sII", tag, at + len(data), len(body))
        data += padded
    size = at + len(data)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12)
    head += b"acsp" + bytes(28) + struct.pack(">3i", *(round(value * 65_536) for value in D50))
    return head.ljust(128, b"\0") + table + data


def in_space(image: Image.Image, name: str) -> Image.Image:
    """Return the numbers that an image of sRGB has in another space: without its profile the colours are pale."""
    source, target = (ImageCms.ImageCmsProfile(io.BytesIO(profile(each))) for each in ("sRGB", name))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    converted = ImageCms.profileToProfile(image, source, target, renderingIntent=intent)
    assert converted is not None
    converted.info.clear()  # else encoders would write the profile
    return converted
