"""Check prose against the word list: `python docs/prose [FILE …]`, all files in Git by default; part of `make lint`.

Without files, it also compares the Flesch reading ease of each page with reading_ease.txt: no page may be harder to
read than it was before it was rewritten. `python docs/prose --scores` prints both values of each page.

Markdown is passed to textlint as it is. Of other files only the text is passed: comments, docstrings, strings of more
than one word, help texts, and what a template shows. Line numbers stay the same. Phrases that a line break parts
are found without textlint.
"""

import io
import re
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from flesch import reading_ease

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
NPM = REPOSITORY / "requirements" / "npm"  # textlint finds its rules below the working directory
WORDS = HERE / "words.txt"
# One page a line with its reading ease before it was rewritten; `-` for a page that is new since then.
READING_EASE = HERE / "reading_ease.txt"
Fragments = Iterator[tuple[int, str]]  # line, text


def python(source: str) -> Fragments:
    """Yield comments and the strings of several words, docstrings among them."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# noqa", "# type:")):
            yield token.start[0], token.string.lstrip("#! ")
        elif token.type == tokenize.STRING and " " in token.string.strip():
            body = re.sub(r"^\w*(\"\"\"|'''|\"|')|(\"\"\"|'''|\"|')$", "", token.string)
            for offset, line in enumerate(body.split("\n")):
                yield token.start[0] + offset, line.strip()


def template(source: str) -> Fragments:
    """Yield the text of an HTML template: no tags, no expressions."""
    blank = re.sub(r"<[^>]*>|\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}", _newlines, source, flags=re.DOTALL)
    for number, line in enumerate(blank.split("\n"), start=1):
        yield number, line.strip()


def makefile(source: str) -> Fragments:
    """Yield the help of each target, and comments."""
    for number, line in enumerate(source.split("\n"), start=1):
        yield number, line.partition("#")[2].lstrip("# ")


def script(source: str) -> Fragments:
    """Yield comments and strings of several words of JavaScript, CSS, Lua and shell."""
    pattern = re.compile(r"""(?:^|\s)(?:#|//|/\*|\*|--)\s+(.*)|(["'`])((?:(?!\2).)* (?:(?!\2).)*)\2""")
    for number, line in enumerate(source.split("\n"), start=1):
        yield number, ". ".join(found[1] or found[3] for found in pattern.finditer(line))


READERS: dict[str, Callable[[str], Fragments]] = {
    ".py": python,
    ".html": template,
    ".js": script,
    ".css": script,
    ".lua": script,
    ".yml": makefile,
    ".yaml": makefile,
    ".toml": makefile,
    "Makefile": makefile,
    "Dockerfile": makefile,
}


def _newlines(match: re.Match[str]) -> str:
    return " " + "\n" * match[0].count("\n")


def text_of(file: Path) -> str | None:
    """Return a file's prose on the lines where it stands; none for a kind that has no prose."""
    if file.suffix == ".md":
        return file.read_text()
    reader = READERS.get(file.suffix) or READERS.get(file.name)
    if reader is None:
        return None
    source = file.read_text()
    lines = [""] * (source.count("\n") + 2)
    for number, text in reader(source):
        # Without what Markdown would take for markup: a heading, a list, code.
        lines[number] = (lines[number] + " " + re.sub(r"^[-*#>|\d.]+ ", "", text)).strip()
    return "\n".join(lines[1:])


class Score(NamedTuple):
    """The reading ease of a page before it was rewritten, None for one that is new since then, and now."""

    page: str
    before: float | None
    now: float

    @property
    def is_worse(self) -> bool:
        """Return whether the page is harder to read than before."""
        return self.before is not None and self.now < self.before


def scores(pages: Mapping[str, str], recorded: str) -> list[Score]:
    """Return the score of each page by its text; `recorded` has the values of before, as READING_EASE."""
    before = {page: float(value) for page, value in map(str.split, recorded.splitlines()) if value != "-"}
    return [Score(page, before.get(page), reading_ease(text)) for page, text in pages.items()]


def write_scores(*, only_worse: bool) -> int:
    """Write pages with both values, and return how many are harder to read than before."""
    names = [name for name in _run("git", "ls-files", "*.md").stdout.split() if (REPOSITORY / name).is_file()]
    rows = scores({name: (REPOSITORY / name).read_text() for name in names}, READING_EASE.read_text())
    for row in rows:
        if row.is_worse:
            advice = "use shorter sentences and plainer words"
            sys.stdout.write(f"{row.page}: the Flesch reading ease is {row.now}, and was {row.before}: {advice}\n")
        elif not only_worse:
            sys.stdout.write(f"{row.page}: {'new' if row.before is None else row.before} -> {row.now}\n")
    return sum(row.is_worse for row in rows)


def main() -> int:
    """Run the checks and return an exit status."""
    if sys.argv[1:] == ["--scores"]:
        return min(1, write_scores(only_worse=False))
    worse = 0 if sys.argv[1:] else write_scores(only_worse=True)
    names = sys.argv[1:] or _run("git", "ls-files").stdout.split()
    texts = {name: text_of(REPOSITORY / name) for name in names if (REPOSITORY / name).is_file()}
    prose = {name: text for name, text in texts.items() if text is not None}
    broken = [f"{name}:{line}: {fault}\n" for name, text in prose.items() for line, fault in broken_phrases(text)]
    sys.stdout.writelines(broken)
    return _textlint(prose) or min(1, worse + len(broken))


def broken_phrases(text: str) -> Fragments:
    """Yield each phrase of the word list that a line break parts, which textlint does not find, and where it begins."""
    prose = re.sub(r"^( *)(```|~~~).*?^ *\2", _newlines, text, flags=re.DOTALL | re.MULTILINE)
    for entry in WORDS.read_text().splitlines():
        phrase, _, better = (part.strip() for part in entry.partition(">"))
        for gap in re.finditer(" ", phrase):
            parts = (r"\s+".join(map(re.escape, part.split())) for part in (phrase[: gap.start()], phrase[gap.end() :]))
            for found in re.finditer(r"\b" + r"[ \t]*\n[ \t]*(?:> )?".join(parts) + r"\b", prose, re.IGNORECASE):
                advice = f", use “{better}” instead" if better else ""
                yield prose.count("\n", 0, found.start()) + 1, f"Avoid using “{phrase}”{advice}"


def _textlint(prose: Mapping[str, str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in prose.items():
            copy = Path(folder) / f"{name.removesuffix('.md')}.md"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text.replace("\n", " \n"))  # the rule misses a word right before a line break
        textlint = ("node_modules/.bin/textlint", "--config", str(HERE / "textlintrc.js"), "--format", "unix", folder)
        finished = _run(*textlint, folder=NPM)
    sys.stdout.write(re.sub(rf"^{folder}/(.*?)\.md:", r"\1:", finished.stdout, flags=re.MULTILINE) + finished.stderr)
    return finished.returncode


def _run(*command: str, folder: Path = REPOSITORY) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 -- fixed commands


if __name__ == "__main__":
    sys.exit(main())
