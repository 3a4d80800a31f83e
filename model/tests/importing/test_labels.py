"""Labels in each form that the tools of the field write, or refused with what was found."""

import json
from pathlib import Path
from typing import Any

import pytest

from importing import labels
from inference.errors import ImportRefusedError

FISH = ("tench", "goldfish", "great white shark")
PAIRS = {"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"], "2": ["n01484850", "great white shark"]}
NUMBERED = {str(number): label for number, label in enumerate(FISH)}
FORMS: dict[str, tuple[str, str]] = {
    "one a line": ("labels.txt", "\n".join(FISH)),
    "a pretty list": ("labels.json", json.dumps(FISH, indent=2)),
    "a list on one line": ("labels.txt", json.dumps(FISH)),
    "numbers as text": ("labels.json", json.dumps(NUMBERED, indent=4)),
    "numbers out of order": ("labels.json", json.dumps(dict(reversed(NUMBERED.items())))),
    "Keras' imagenet_class_index": ("imagenet_class_index.json", json.dumps(PAIRS, indent=1)),
    "numbers of labels": ("class_indices.json", json.dumps({label: at for at, label in enumerate(FISH)}, indent=1)),
    "a Python dict": ("imagenet1000_clsidx_to_labels.txt", str(dict(enumerate(FISH))).replace(", ", ",\n ")),
    "a Python list": ("labels.py", str(list(FISH))),
    "a Python tuple in a list": ("labels.txt", str([("n0", FISH[0]), ("n1", FISH[1]), ("n2", FISH[2])])),
    "a Hugging Face configuration": (
        "config.json",
        json.dumps({"model_type": "resnet", "id2label": NUMBERED, "label2id": {"tench": 0}}, indent=2),
    ),
    "a timm configuration": (
        "config.json",
        json.dumps(
            {
                "architecture": "resnet18",
                "label_names": ["n0", "n1", "n2"],
                "label_descriptions": dict(zip(("n0", "n1", "n2"), FISH, strict=True)),
            }
        ),
    ),
    "an object with the list": ("labels.json", json.dumps({"classes": FISH})),
    "objects with numbers": (
        "labels.json",
        json.dumps([{"id": at, "name": label} for at, label in reversed(list(enumerate(FISH)))]),
    ),
    "objects without numbers": ("labels.json", json.dumps([{"label": label} for label in FISH])),
    "CSV with a header": (
        "classes.csv",
        "index,wnid,label\n" + "".join(f"{at},n{at},{each}\n" for at, each in enumerate(FISH)),
    ),
    "CSV out of order": (
        "classes.csv",
        "label,id\n" + "".join(f"{each},{2 - at}\n" for at, each in enumerate(FISH[::-1])),
    ),
    "CSV of one column": ("classes.csv", "name\n" + "\n".join(FISH) + "\n"),
    "CSV with semicolons and quotes": (
        "c.csv",
        '"Class_Name";"Id"\r\n' + "".join(f'"{e}";{a}\r\n' for a, e in enumerate(FISH)),
    ),
    "TSV": ("classes.tsv", "id\tname\n" + "".join(f"{at}\t{each}\n" for at, each in enumerate(FISH))),
    "CSV by another name": ("labels.txt", "id,label\n" + "".join(f"{at},{each}\n" for at, each in enumerate(FISH))),
    "numbered lines": ("labels.txt", "".join(f"{at}: {each}\n" for at, each in enumerate(FISH))),
    "numbered lines with blanks": ("labels.txt", "".join(f"{at} {each}\r\n" for at, each in enumerate(FISH))),
    "CSV without a header": ("labels.csv", "".join(f"{at},{each}\n" for at, each in enumerate(FISH))),
    "a byte order mark": ("labels.json", "\ufeff" + json.dumps(FISH)),
}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_read_in_the_order_of_the_outputs(tmp_path: Path, form: str) -> None:
    assert labels.read(write(tmp_path, *FORMS[form])).labels == FISH


def test_commas_and_quotes_belong_to_a_label(tmp_path: Path) -> None:
    told = ("tench, Tinca tinca", "carpenter's kit", 'a "b"', "Bär, 熊")
    assert labels.read(write(tmp_path, "l.txt", "\n".join(told))).labels == told
    assert (
        labels.read(write(tmp_path, "l.json", json.dumps({str(at): each for at, each in enumerate(told)}))).labels
        == told
    )
    assert labels.read(write(tmp_path, "l.py", repr(dict(enumerate(told))))).labels == told


def test_labels_that_begin_with_numbers_stay_whole_unless_they_number_the_outputs(tmp_path: Path) -> None:
    assert labels.read(write(tmp_path, "l.txt", "3 apples\n1 pear\n")).labels == ("3 apples", "1 pear")


def test_labels_of_several_outputs_are_told_apart_as_imagenet_needs_it(tmp_path: Path) -> None:
    found = labels.read(
        write(tmp_path, "config.json", json.dumps({"id2label": {"0": "crane", "1": "dog", "2": "crane"}}))
    )
    assert found.labels == ("crane (0)", "dog", "crane (2)")
    assert "1 labels stand for several outputs" in found.remarks[0]
    pairs = {"0": ["n02012849", "crane"], "1": ["n03126707", "crane"]}
    assert labels.read(write(tmp_path, "i.json", json.dumps(pairs))).labels == (
        "crane (n02012849)",
        "crane (n03126707)",
    )


def test_labels_that_are_only_numbers_are_told(tmp_path: Path) -> None:
    found = labels.read(write(tmp_path, "config.json", json.dumps({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})))
    assert "only numbers (LABEL_0" in found.remarks[0]


REFUSED: list[tuple[str, Any, str]] = [
    ("l.json", {"0": "a", "2": "b"}, "2 labels are numbered 0 to 2, and 1 is missing"),
    ("l.json", {"1": "a", "2": "b"}, "numbered 1 to 2, and 0 is missing"),
    ("l.json", {"a": "b"}, "numbers from 0 with their labels are expected"),
    ("l.json", {"a": 0, "b": 0}, "numbers from 0 with their labels are expected"),
    ("l.json", [["a", 1]], "output 0 has the label ['a', 1]; text is expected"),
    ("l.json", ["a", None], "output 1 has the label None"),
    ("l.json", ["a", "b\nc"], "more than one line"),
    ("l.json", [], "a list of labels"),
    ("l.json", ["a", ""], "line 2 is ''"),
    ("l.json", '["a", "b"', "neither JSON"),
    ("l.json", '{"0": "a", "0": "b"}', "'0' stands there more than once"),
    ("l.txt", "{'a', 'b'}", "a set of labels has no order"),
    ("l.txt", "[__import__('os').getcwd()]", "neither JSON"),
    ("l.json", "[" * 5_000, "neither JSON"),
    ("l.csv", "a,b\n1,2\n", "its header is 'a,b'"),
    ("l.csv", "id,label\n0,a\n0,b\n", "column 'id' has a number more than once"),
    ("l.csv", "id,label\n0,a\n2,b\n", "1 is missing"),
    ("l.csv", 'id,label\n0,"a\n', "cannot be read as CSV"),
    ("l.csv", "id,label\n", "no rows below it"),
    ("l.csv", "id,label\n0,\n", "line 1 is ''"),
    ("l.txt", "a\nb\na\n", "line 3 is 'a'"),
]


@pytest.mark.parametrize(("name", "content", "told"), REFUSED)
def test_labels_that_cannot_be_are_refused_with_what_was_found(
    tmp_path: Path, name: str, content: Any, told: str
) -> None:
    path = write(tmp_path, name, content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ImportRefusedError) as refused:
        labels.read(path)
    assert told in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("outputs", [3, 5, 1_001])
def test_another_number_of_labels_is_refused_with_both_numbers(tmp_path: Path, outputs: int) -> None:
    path = write(tmp_path, "l.json", json.dumps(["a", "b", "c", "d"]))
    with pytest.raises(ImportRefusedError, match=f"puts out {outputs} numbers for an image, .*l.json has 4 labels"):
        labels.check_count(labels.read(path).labels, path, outputs)
