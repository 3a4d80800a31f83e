"""Check prose against the word list: `python docs/prose [FILE …]`, all files in Git by default; part of `make lint`.

Without files, it also compares the Flesch reading ease of each page with reading_ease.txt: no page may be harder to
read than it was before it was rewritten. `python docs/prose --scores` prints both values of each page.

Markdown is passed to textlint as it is. Of other files only the text is passed: comments, docstrings, strings of more
than one word, help texts, and what a template shows. Line numbers stay the same.
"""

import io
import re
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

from flesch import reading_ease

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
NPM = REPOSITORY / "requirements" / "npm"  # textlint finds its rules below the working directory
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


def scores() -> list[tuple[str, float | None, float]]:
    """Return each page in Git with its reading ease before and now; None before for a page that is new."""
    before = dict(line.split() for line in READING_EASE.read_text().splitlines())
    pages = [name for name in _run("git", "ls-files", "*.md").stdout.split() if (REPOSITORY / name).is_file()]
    recorded = {page: None if before.get(page, "-") == "-" else float(before[page]) for page in pages}
    return [(page, recorded[page], reading_ease((REPOSITORY / page).read_text())) for page in pages]


def write_scores(*, only_worse: bool) -> int:
    """Write pages with both values, and return how many are harder to read than before."""
    rows = scores()
    worse = {page for page, before, now in rows if before is not None and now < before}
    for page, before, now in rows:
        if page in worse:
            advice = "use shorter sentences and plainer words"
            sys.stdout.write(f"{page}: the Flesch reading ease is {now}, and was {before}: {advice}\n")
        elif not only_worse:
            sys.stdout.write(f"{page}: {'new' if before is None else before} -> {now}\n")
    return len(worse)


def main() -> int:
    """Run the checks and return an exit status."""
    if sys.argv[1:] == ["--scores"]:
        return min(1, write_scores(only_worse=False))
    worse = 0 if sys.argv[1:] else write_scores(only_worse=True)
    return _textlint() or min(1, worse)


def _textlint() -> int:
    names = sys.argv[1:] or _run("git", "ls-files").stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            text = text_of(REPOSITORY / name) if (REPOSITORY / name).is_file() else None
            if text is not None:
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
