"""What MkDocs is told of this repository: pages that lie outside docs/, and where links between files lead on the site.

The Markdown stays as it is read in the repository, with links from file to file.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
# file of the repository: its place on the site
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks-method.md",
    "stress_test/README.md": "stress.md",
    "LICENSE": "LICENSE.txt",
    "api/assets/mark.svg": "mark.svg",
}
# What else pages may show: plots and tables of the measurements.
SHOWN = ("benchmarks/results/*/*.png", "benchmarks/results/*/*.txt", "stress_test/*.md", "stress_test/results/*.png")
DECISIONS = REPOSITORY / "docs" / "decisions"
CODE_LINK = re.compile(r"\[(`[^`]+`)\]\(\S+\.py\)")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and pictures from outside docs/."""
    for source, place in places().items():
        files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    site = {f"docs/{file.src_uri}": file.src_uri for file in files} | places()
    sources = {place: source for source, place in site.items()}
    here = page.file.src_uri
    if here == "decisions/README.md":  # in the repository, the folder itself is the list
        markdown += "\n" + "".join(f"- [{title(file)}]({file.name})\n" for file in sorted(DECISIONS.glob("0*.md")))
    markdown = CODE_LINK.sub(r"\1", markdown)  # the code is not on the site
    return LINK.sub(lambda link: target(link[1], sources[here], here, site), markdown)


def target(link: str, source: str, here: str, site: dict[str, str]) -> str:
    """Return the link as the page `here` needs it; MkDocs complains about one that leads nowhere."""
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    place = site.get(file) or site.get(f"{file}/README.md")
    return posixpath.relpath(place, posixpath.dirname(here) or ".") if place else link


def title(file: Path) -> str:
    """Return a page's heading."""
    return file.read_text().partition("\n")[0].removeprefix("# ").replace("`", "")


def places() -> dict[str, str]:
    """Return the place on the site of every file from outside docs/."""
    shown = [str(file.relative_to(REPOSITORY)) for pattern in SHOWN for file in REPOSITORY.glob(pattern)]
    return {source: source for source in shown} | OUTSIDE
