import os
from pathlib import Path

from sightline.selection import select

HEADS = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "gif": b"GIF89a",
    "webp": b"RIFF\0\0\0\0WEBP",
    "bmp": b"BM" + bytes(12) + (40).to_bytes(4, "little"),
    "heic": b"\0\0\0\x18ftypheic",
    "avif": b"\0\0\0\x20ftypavif",
    "tiff": b"MM\0*",
}


def put(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_content_decides_whatever_the_name(tmp_path: Path) -> None:
    for kind, head in HEADS.items():
        for name in (f"{kind}.jfif", f"{kind}-without-suffix", f"{kind}.txt"):
            put(tmp_path, name, head)
    assert len(select([tmp_path]).images) == 3 * len(HEADS)


def test_files_that_are_not_sent_are_counted_by_kind(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", HEADS["jpeg"])
    put(tmp_path, "no-image.jpg", b"notes")
    put(tmp_path, "notes.txt", b"notes")
    put(tmp_path, "BM.txt", b"BM is how this note begins, and more text follows")
    put(tmp_path, "film.mp4", b"\0\0\0\x20ftypisom")
    put(tmp_path, "._a.jpg", b"\0\5\x16\7")
    put(tmp_path, "@eaDir/a.jpg", HEADS["jpeg"])
    put(tmp_path, ".thumbnails/a.jpg", HEADS["jpeg"])
    selection = select([tmp_path])
    assert list(selection.images) == ["a.jpg", "no-image.jpg"]
    assert selection.passed_over == {
        "files that are no images": 3,
        "hidden files": 1,
        "hidden or system folders": 2,
    }
    assert "3 files that are no images" in selection.describe_passed_over()


def test_pipes_and_dangling_links_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert select([tmp_path]).images == {}


def test_a_file_that_is_named_is_taken_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "notes.txt", b"notes")
    assert list(select([tmp_path / "notes.txt"]).images) == ["notes.txt"]


def test_files_of_several_paths_keep_their_paths_apart(tmp_path: Path) -> None:
    put(tmp_path, "one/a.jpg", HEADS["jpeg"])
    put(tmp_path, "two/a.jpg", HEADS["jpeg"])
    paths = [tmp_path / "one", tmp_path / "two" / "a.jpg"]
    assert list(select(paths).images) == [str(tmp_path / "one" / "a.jpg"), str(tmp_path / "two" / "a.jpg")]
