"""Hooks of MkDocs: documents outside of `docs/` as pages, and links as the site has them.

Documents link to each other by their places in the repository, so that they work there. On the
site, README.md is the first page and the other documents outside of `docs/` have pages of their
own; what is no page is linked at the repository. Must not change what a document says.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
#: Documents of the repository that are pages of the site.
PAGES: Mapping[str, str] = {
    "README.md": "index.md",
    "DESIGN.md": "design.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "SKILL.md": "assistants.md",
    "manifests/README.md": "manifests.md",
    "benchmarks/README.md": "benchmarks.md",
}
_ORIGINS = {page: origin for origin, page in PAGES.items()}

#: A link or the source of a picture, in Markdown.
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]*)")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents outside of `docs/`."""
    for origin, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / origin)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository as links of the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(_ORIGINS.get(here, f"docs/{here}"))

    def moved(match: re.Match[str]) -> str:
        if not match[1]:
            return ""
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        site = PAGES.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(site) is not None and (target in PAGES or site != target):
            return posixpath.relpath(site, posixpath.dirname(here) or ".")
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{config.repo_url}/{kind}/main/{target}"

    parts = _FENCE.split(_without_notes(markdown))
    return "".join(part if part.startswith("```") else _LINK.sub(moved, part) for part in parts)


def _without_notes(markdown: str) -> str:
    """Without the notes to tests that stand before blocks."""
    return re.sub(r"^<!-- [\w:, .-]+ -->\n(?=```)", "", markdown, flags=re.MULTILINE)
