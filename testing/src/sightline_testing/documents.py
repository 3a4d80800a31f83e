"""The commands that the documentation shows, as they are written in its code blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sightline_testing.service import REPOSITORY

DOCUMENTS = (
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "SECURITY.md",
    *sorted(REPOSITORY.glob("docs/*.md")),
    *sorted(REPOSITORY.glob("docs/how-to/*.md")),
    REPOSITORY / "benchmarks" / "README.md",
    REPOSITORY / "stress_test" / "README.md",
)
# A block without a language is one of commands.
SHELL = ("", "sh", "bash")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOOP = re.compile(r"^for .*?^done$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(^|\s\s+)#.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block: the file it stands in, its language, its text, and at which line it begins."""

    document: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, each on one line, without comments."""
        text = _LOOP.sub(lambda loop: "; ".join(loop[0].splitlines()), self.text.replace("\\\n", " "))
        lines = _COMMENT.sub("", text).splitlines()
        return [" ".join(line.replace("do;", "do").split()) for line in lines if line.strip()]


def blocks(*languages: str) -> Iterator[Block]:
    """Yield the code blocks in these languages, in the order of the documents."""
    for document in DOCUMENTS:
        text = document.read_text()
        for found in _BLOCK.finditer(text):
            if found[1] in languages:
                line = text.count("\n", 0, found.start()) + 2
                yield Block(str(document.relative_to(REPOSITORY)), line, found[1], found[2])
