"""What mkdocs.yml cannot say: pages outside of docs/, linked files, formulas, and comments."""

import ast
import json
import logging
import re
from html import unescape
from pathlib import Path, PurePosixPath
from posixpath import join, normpath
from textwrap import dedent
from typing import Any

import griffe
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

log = logging.getLogger("mkdocs.hooks.formulas")

PLACES = {  # pages outside of docs/, and where they are in the site
    "README.md": "index.html",
    "CONTRIBUTING.md": "contributing.html",
    "CHANGELOG.md": "changelog.html",
    "benchmarks/README.md": "benchmarks.html",
    "config/README.md": "configuration.html",
}
LINK = r"\]\(([^)#:\s]+)"  # of a file, not of an address
SHOWN = "---\nsearch: {exclude: true}\n---\n\n# `%s`\n\n``````%s\n%s\n``````\n"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Name pages by their paths in the repository, so that links are the same in both places."""
    root = Path(config.config_file_path).parent
    found = [file for file in files if file.src_dir != config.docs_dir]
    for file in files:
        if file.src_dir == config.docs_dir and file.inclusion.is_included():
            path = f"docs/{file.src_uri}"
            if path.endswith(".ipynb"):
                moved = File.generated(config, path, content=notebook(root / path))
                moved.dest_uri = str(PurePosixPath(file.dest_uri).with_suffix(".html"))
                moved.is_documentation_page = lambda: True
            else:
                moved = File.generated(config, path, abs_src_path=file.abs_src_path)
                moved.dest_uri = file.dest_uri
            found.append(moved)
    for path, place in PLACES.items():
        page = File.generated(config, path, abs_src_path=str(root / path))
        page.dest_uri = place
        found.append(page)
    found += _linked(config, root, {file.src_uri for file in found})
    return Files(found)


def _linked(config: MkDocsConfig, root: Path, pages: set[str]) -> list[File]:
    """Return a page for each further text file that pages link, and other files as they are."""
    targets = {
        normpath(join(PurePosixPath(page).parent, link))
        for page in pages
        if page.endswith(".md")
        for link in re.findall(LINK, (root / page).read_text(encoding="utf-8"))
    }
    made = []
    for target in sorted(targets - pages):
        if (root / target).is_file():
            text = (root / target).read_text(encoding="utf-8")
            kind = PurePosixPath(target).suffix.removeprefix(".").replace("cff", "yaml")
            shown = SHOWN % (target, kind or "text", text)
            file = File.generated(
                config, target, content=shown, inclusion=InclusionLevel.NOT_IN_NAV
            )
            file.dest_uri = f"source/{target}.html"
            file.is_documentation_page = lambda: True
            made.append(file)
    return made


def notebook(path: Path) -> str:
    """Return an executed notebook as Markdown: its texts, code, and outputs."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f'<img alt="output" src="data:image/png;base64,{image}">')
            else:
                text = "".join(output.get("text") or data["text/plain"])
                parts.append(f"```text\n{text.rstrip()}\n```")
    return "\n\n".join(parts)


def on_page_content(html: str, **_: Any) -> str:
    """Write formulas as MathML, which browsers show without a script."""

    def formula(match: re.Match[str]) -> str:
        is_block = match[1] == "div"
        tex = unescape(match[2]).strip().removeprefix("\\(").removeprefix("\\[")
        tex = tex.removesuffix("\\)").removesuffix("\\]")
        written = convert(tex, display="block" if is_block else "inline")
        if "\\" in written:  # a warning is an error, since the site is built strictly
            log.warning("formula %s: found what latex2mathml does not know", tex)
        return written

    return re.sub(r'<(div|span) class="arithmatex">(.*?)</\1>', formula, html, flags=re.DOTALL)


class Comments(griffe.Extension):
    """The comment behind a field, or the description in it, is its docstring."""

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Describe a public attribute without a docstring."""
        if attr.docstring is None and not attr.name.startswith("_"):
            text = described(attr.source)
            if text:
                attr.docstring = griffe.Docstring(text, parent=attr, lineno=attr.lineno)


def described(source: str) -> str:
    """Return what the line of a field says about it: `description=` or a comment at its end."""
    for node in ast.walk(ast.parse(dedent(source))):
        if isinstance(node, ast.keyword) and node.arg == "description":
            found = str(ast.literal_eval(node.value))
            break
    else:
        comment = re.search(r"  # (.+)$", source)
        found = comment[1] if comment else ""
    return found[:1].upper() + found[1:]
