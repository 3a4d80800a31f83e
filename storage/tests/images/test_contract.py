"""What every implementation of ImageStore holds."""

import hashlib
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from sightline_testing.colliding import COLLIDING, COLLIDING_NAME
from storage.errors import ImageMissing, ImageTooLarge
from storage.images.port import ImageStore
from wire.process.limits import MAX_IMAGE_BYTES

JPEG = b"\xff\xd8\xff\xe0 an image"
NAME = hashlib.md5(JPEG, usedforsecurity=False).hexdigest() + ".jpg"
SHA256 = hashlib.sha256(JPEG).hexdigest()


class RefusedError(Exception):
    pass


def refuse() -> None:
    raise RefusedError


def content(images: ImageStore, name: str) -> bytes:
    file = images.open(name)
    assert file is not None
    with file:
        return file.read()


def test_an_image_is_read_back_as_it_was_stored(images: ImageStore) -> None:
    assert images.put(NAME, JPEG) == NAME
    assert images.read(NAME) == content(images, NAME) == JPEG
    assert images.read_same(NAME, SHA256) == JPEG
    assert images.read_same(NAME, "0" * 64) is None
    assert list(images.names()) == [NAME]
    assert images.location(NAME).endswith(f"/{NAME}")


def test_the_same_image_again_is_the_same_image_and_the_check_of_new_ones_is_left_out(images: ImageStore) -> None:
    images.put(NAME, JPEG)
    assert images.put(NAME, JPEG, refuse) == NAME
    assert list(images.names()) == [NAME]


def test_what_the_check_refuses_is_not_stored(images: ImageStore) -> None:
    with pytest.raises(RefusedError):
        images.put(NAME, JPEG, refuse)
    assert list(images.names()) == []


def test_other_bytes_of_the_same_md5_get_a_name_of_their_own(images: ImageStore) -> None:
    first, second = COLLIDING
    assert images.put(COLLIDING_NAME, first) == COLLIDING_NAME
    other = images.put(COLLIDING_NAME, second)
    assert uuid.UUID(other.removesuffix(".bmp")).version == 4
    assert [images.read(COLLIDING_NAME), images.read(other)] == COLLIDING
    assert images.put(COLLIDING_NAME, second) == other
    assert len(list(images.names())) == 2


def test_images_of_one_md5_that_are_stored_at_once_never_share_a_name(images: ImageStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(lambda data: images.put(COLLIDING_NAME, data), COLLIDING * 4))
    assert [images.read(each) for each in names] == COLLIDING * 4
    assert len(set(names)) == 2


@pytest.mark.parametrize("name", ["nowhere.jpg", "../secret.jpg", "deeper/image.jpg", "", "image.jpg\0"])
def test_what_is_no_name_of_an_image_is_missing(images: ImageStore, name: str) -> None:
    images.put(NAME, JPEG)
    with pytest.raises(ImageMissing, match="cannot be read"):
        images.read(name)
    assert images.open(name) is None
    assert images.read_same(name) is None


def test_an_image_beyond_the_limit_is_refused(images: ImageStore) -> None:
    images.put(NAME, bytes(MAX_IMAGE_BYTES + 1))
    with pytest.raises(ImageTooLarge, match=NAME):
        images.read(NAME)


def test_an_identity_is_renewed_while_the_image_is_the_same(images: ImageStore) -> None:
    identity = images.identify(images.put(NAME, JPEG), SHA256)
    renewed = images.renew(NAME, identity)
    assert renewed is not None
    assert images.renew(NAME, renewed) is not None


def test_an_image_has_each_of_its_owners_and_no_other(images: ImageStore) -> None:
    images.put(NAME, JPEG)
    for owner in ("alice", "bob", "alice"):
        images.add_owner(NAME, owner)
    assert [images.has_owner(NAME, owner) for owner in ("alice", "bob", "Alice", "")] == [True, True, False, False]
    assert not images.has_owner("other.jpg", "alice")
    assert list(images.names()) == [NAME]


def test_a_kept_image_is_listed_once_and_one_that_is_not_there_is_not_kept(images: ImageStore) -> None:
    images.put(NAME, JPEG)
    for name in (NAME, NAME, "nowhere.jpg"):
        images.keep(name)
    assert list(images.names()) == [NAME]
    assert images.read(NAME) == JPEG


def test_a_store_that_serves_is_writable_and_holds_nothing_of_the_check(images: ImageStore) -> None:
    images.check_writable()
    assert list(images.names()) == []


def test_an_erased_image_is_gone_with_its_senders_and_can_be_sent_again(images: ImageStore) -> None:
    assert not images.erase(NAME)
    assert not images.erase("../secret.jpg")
    images.put(NAME, JPEG)
    images.add_owner(NAME, "alice")
    images.keep(NAME)
    assert images.erase(NAME)
    assert images.open(NAME) is None
    assert list(images.names()) == []
    assert not images.has_owner(NAME, "alice")
    assert images.put(NAME, JPEG) == NAME
