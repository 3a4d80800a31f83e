from pathlib import Path

import pytest

from inference.errors import IMAGE_MISSING, IMAGE_TOO_LARGE, ImageError
from inference.limits import MAX_BYTES
from serving import stored_images
from storage.images.folder import ImageFolder


def test_what_a_store_refuses_is_the_image_s_fault(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for name, code in (("nowhere.jpg", IMAGE_MISSING), ("huge.jpg", IMAGE_TOO_LARGE)):
        with pytest.raises(ImageError, match=name) as caught:
            stored_images.read(ImageFolder(tmp_path), name)
        assert caught.value.code == code
