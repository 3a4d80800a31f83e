"""How labels are spelled: which texts name one class, and which of these is its name. No I/O.

People write one label in many ways: "Tiger cat", "tiger_cat", with a typographic apostrophe, in full-width letters, or
with an invisible character. Compare labels by their keys; before writing one, look it up in a `Spelling`.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Default_Ignorable_Code_Point of Unicode: of these nothing is shown.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
# Keyboards and word processors put these in place of the plain ones.
_PLAIN = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032\u00b4", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
)


def tidy(label: str) -> str:
    """Return a label as it is kept: composed (NFC), with single blanks, without characters that nothing shows."""
    if label.isascii() and label.isprintable():
        return " ".join(label.split())
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFC", label))
    return " ".join(_CONTROL.sub(" ", visible).split())


@lru_cache(maxsize=4096)
def key(label: str) -> str:
    """Return what all spellings of a class have in common; empty where a text names no class.

    They may differ in case, blanks, underscores, in the form of their characters (NFKC), in typographic quotes and
    dashes, and in characters that nothing shows.
    """
    folded = label.casefold()
    if not label.isascii():
        for _ in range(2):  # folding the case may undo the normal form
            folded = unicodedata.normalize("NFKC", folded.translate(_PLAIN)).casefold()
        folded = _INVISIBLE.sub("", unicodedata.normalize("NFKC", folded))
    return " ".join(_CONTROL.sub(" ", folded).replace("_", " ").split())


class Spelling:
    """The names of classes: those of a model, what people have renamed and merged, and new ones as first written."""

    def __init__(self, known: Iterable[str] = (), renames: Iterable[tuple[str, str]] = ()) -> None:
        self._names: dict[str, str] = {}
        # Labels of a model that differ in their spelling alone: each keeps its own.
        self._alike: dict[str, str] = {}
        for label in known:
            first = self._names.setdefault(key(label), label)
            if first != label:
                self._alike |= {first: first, label: label}
        for label, name in renames:
            self._rename(label, name)

    def __contains__(self, label: str) -> bool:
        """Return whether a class is known that the label means."""
        return key(label) in self._names

    def of(self, label: str) -> str:
        """Return the name of the class that a label means; a new one is only made tidy, empty where it names none."""
        if label in self._alike:
            return self._alike[label]
        folded = key(label)
        return self._names.get(folded, tidy(label)) if folded else ""

    def keys(self, label: str) -> tuple[str, ...]:
        """Return the keys of all labels that mean the same class."""
        name = self.of(label)
        return tuple({key(label): None} | {each: None for each, other in self._names.items() if other == name})

    def extended(self, labels: Iterable[str]) -> "Spelling":
        """Return the same names and, for classes without one, the first of these labels that means each."""
        extended = Spelling()
        extended._names, extended._alike = dict(self._names), self._alike
        for label in labels:
            if name := self.of(label):
                extended._names.setdefault(key(label), name)
        return extended

    def _rename(self, label: str, name: str) -> None:
        """Give a class another name; it becomes part of the class that has the name, where there is one."""
        old, new = self.of(label), tidy(name)
        if not old or not key(new):
            return
        if self.of(new) != old:
            new = self.of(new)
        # A key that several labels of the model share stays with the first of them.
        own = {key(each) for each in (label, new) if each not in self._alike}
        self._names |= dict.fromkeys(own.union(each for each, other in self._names.items() if other == old), new)
        self._alike |= {each: new for each, other in self._alike.items() if other == old}
