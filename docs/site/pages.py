"""Hooks of MkDocs: add pages from outside docs/, rewrite links between files, and move inline scripts into files."""

import hashlib
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
# file of the repository: its path on the site
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks-method.md",
    "stress_test/README.md": "stress.md",
    "LICENSE": "LICENSE.txt",
    "examples/README.md": "examples.md",
    "api/assets/mark.svg": "mark.svg",
}
# What else pages may show: plots and tables of the measurements, and files to begin an installation from.
SHOWN = (
    *("benchmarks/results/*/*.png", "benchmarks/results/*/*.txt", "stress_test/*.md", "stress_test/results/*.png"),
    *("benchmarks/own/*.csv", "deploy/compose.machines.yml"),
    *("deploy/helm/sightline/values.yaml", "deploy/helm/sightline/examples/*.yaml"),
)
DECISIONS = REPOSITORY / "docs" / "decisions"
# The service refuses inline scripts in the pages that it serves. Data, such as JSON, has a type.
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
LINK = re.compile(r"(!?)\[([^]]*)\]\((?!\w+:|#)([^)#\s]+)([^)]*)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and images from outside docs/."""
    for source, place in places().items():
        files.append(File.generated(config, place, abs_src_path=str(REPOSITORY / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    site = {f"docs/{file.src_uri}": file.src_uri for file in files} | places()
    sources = {place: source for source, place in site.items()}
    here = page.file.src_uri
    if here == "decisions/README.md":  # in the repository, the folder listing serves as the list
        markdown += "\n" + "".join(f"- [{title(file)}]({file.name})\n" for file in sorted(DECISIONS.glob("0*.md")))
    return LINK.sub(lambda link: _on_site(link, sources[here], here, site), markdown)


def _on_site(link: re.Match[str], source: str, here: str, site: dict[str, str]) -> str:
    """Return the link as the page `here` needs it; only its text where it leads to code, which is not on the site."""
    bang, text, path, rest = link.groups()
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    place = site.get(file) or site.get(f"{file}/README.md")
    if place is not None:
        return f"{bang}[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{rest})"
    # MkDocs reports a link that leads nowhere in the repository either.
    return text if (REPOSITORY / file).exists() else link[0]


def on_post_build(config: MkDocsConfig) -> None:
    """Move the inline scripts of the theme into files, whose names change with their content."""
    site = Path(config.site_dir)
    for page in site.rglob("*.html"):
        root = "../" * (len(page.relative_to(site).parents) - 1)
        first, *others = INLINE_SCRIPT.split(page.read_text())
        pairs = zip(others[::2], others[1::2], strict=True)  # a script, and what follows it
        page.write_text(
            first + "".join(f'<script src="{root}{_moved(each, site)}"></script>{rest}' for each, rest in pairs)
        )


def _moved(script: str, site: Path) -> str:
    """Write a script to a file and return its path in the site."""
    name = f"assets/javascripts/inline.{hashlib.sha256(script.encode()).hexdigest()[:8]}.min.js"
    (site / name).write_text(script)
    return name


def title(file: Path) -> str:
    """Return a page's heading."""
    return file.read_text().partition("\n")[0].removeprefix("# ").replace("`", "")


def places() -> dict[str, str]:
    """Return the place on the site of every file from outside docs/."""
    shown = [str(file.relative_to(REPOSITORY)) for pattern in SHOWN for file in REPOSITORY.glob(pattern)]
    return {source: source for source in shown} | OUTSIDE
