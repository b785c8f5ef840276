"""The pages: as a site, where mkdocs reads them, and in the repository, where GitHub shows them."""

import ast
import os
import re
import runpy
import shlex
import subprocess
import sys
import textwrap
import tomllib
from html.parser import HTMLParser

import pytest
import typer
import yaml
from snakemake.utils import update_config

from hamlearn.cli import app
from hamlearn.settings import TrainingSettings, load_settings
from tests.workflow.project import ROOT

pytest.importorskip("mkdocs", reason="mkdocs builds the site: pip install hamlearn[docs]")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += [ROOT / "config/README.md", ROOT / "benchmarks/README.md", *ROOT.glob("docs/**/*.md")]
FETCHED = {"script": "src", "img": "src", "iframe": "src", "link": "href"}


class Fetched(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(FETCHED.get(tag))
        if address:
            self.found.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `make docs` writes it: a link or an anchor that leads nowhere is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_nothing_is_fetched_to_read_the_site(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        for address in Fetched(page.read_text(encoding="utf-8")).found:
            assert not re.match(r"(https?:)?//", address), (page, address)
            if page.name != "404.html" and not address.startswith("data:"):  # has no place
                assert (page.parent / address.split("?")[0].split("#")[0]).exists(), (page, address)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\((['\"]?)(https?:)?//", style.read_text(encoding="utf-8"))


def test_files_outside_of_docs_are_in_the_site(site):
    assert 'href="configuration.html"' in (site / "index.html").read_text(encoding="utf-8")
    assert "Apache License" in (site / "source/LICENSE.html").read_text(encoding="utf-8")


def test_the_reference_is_written_from_docstrings_and_comments(site):
    page = (site / "api/tagging.html").read_text(encoding="utf-8")
    assert 'id="hamlearn.inference.tagger.Tagger.tag"' in page
    assert "Return the entities of posts, in order" in page
    assert "Probability of exactly this span and type, in [0, 1]" in page
    settings = (site / "api/settings.html").read_text(encoding="utf-8")
    fields = TrainingSettings.model_fields.items()
    described = {name for name, field in fields if field.description}
    assert len(described) > 10
    for name in described:
        assert f'id="hamlearn.settings.TrainingSettings.{name}"' in settings
    assert "Type of stored features" in settings


def test_the_notebook_is_a_page_with_its_outputs(site):
    page = (site / "a-post.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 4
    assert "site-packages" not in page  # no path of the machine on which it ran
    assert "with the image: Pelfrey North: ORG" in page
    assert 'href="experiments.html#do-the-images-help"' in page


def test_formulas_are_mathml_and_a_price_is_none():
    write = runpy.run_path(str(ROOT / "docs/hooks.py"))["on_page_content"]
    said = write('<span class="arithmatex">\\(x_i &lt; 2\\)</span> costs 3$')
    assert re.match(
        r"<math [^>]*\"inline\">.*<mi>x</mi><mi>i</mi>.*&#x0003C;.*</math> costs 3\$", said
    )
    said = write('<div class="arithmatex">\\[\ny\n\\]</div>')
    assert re.match(r"<math [^>]*\"block\"><mrow><mi>y</mi></mrow></math>$", said)


# --- the same links on GitHub -----------------------------------------------------------------


def text_of(page):
    """Return a page without blocks and spans of code."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]+`", lambda code: re.sub(r"[\[\]()]", "", code[0]), text)


def anchors(page):
    """Return what GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    slugs = [re.sub(r"\]\([^)]*\)", "", one).lower() for one in headings]
    return {re.sub(r"[^\w\- ]", "", slug).strip().replace(" ", "-") for slug in slugs}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: os.path.relpath(page, ROOT))
def test_links_between_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    links += re.findall(r'(?:src|href)="([^"]+)"', text_of(page))
    for link in links:
        if re.match(r"https://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_the_published_site_is_built_with_the_packages_of_the_extra():
    text = (ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8")
    steps = [step.get("run", "") for step in yaml.safe_load(text)["jobs"]["publish"]["steps"]]
    (install,) = [shlex.split(step) for step in steps if step.startswith("pip install")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [re.split("[<>=]", one)[0] for one in project["optional-dependencies"]["docs"]]
    assert install[2:] == ["--constraint", "constraints.txt", *asked]


# --- what can be typed and copied -------------------------------------------------------------


def blocks(page, language):
    """Return the blocks of code of a language, with the line on which each begins."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start()].count("\n") + 2, block[1]) for block in found]


def of(language):
    found = [(page, *block) for page in PAGES for block in blocks(page, language)]
    assert found
    return [pytest.param(text, id=f"{page.relative_to(ROOT)}:{line}") for page, line, text in found]


@pytest.mark.parametrize("text", of("yaml"))
def test_a_block_of_settings_is_one_that_the_configuration_takes(text):
    settings = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(settings, yaml.safe_load(text))  # as Snakemake adds --configfile
    assert load_settings(settings)


@pytest.mark.parametrize("text", of("python"))
def test_a_block_of_python_is_python(text):
    try:
        ast.parse(textwrap.dedent(text))
    except SyntaxError:  # lines of a table of networks or systems
        ast.parse(f"{{{text}}}")


def typed():
    """Return what begins with `hamlearn` in code, in any page."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        spans = re.findall(r"`((?:python -m )?hamlearn [^`.\n][^`\n]*)`", text)
        lines = re.findall(r"^(?:.* && )?((?:python -m )?hamlearn .+)$", text, re.MULTILINE)
        for command in [*spans, *lines]:
            found[re.split(r"\s+#|\s+[<>|&]", command)[0].removeprefix("python -m ")] = page
    return found


@pytest.mark.parametrize("command", sorted(typed()))
def test_a_command_and_its_options_are_there(command):
    node = typer.main.get_command(app)
    words = command.split()[1:]
    while words and words[0] in getattr(node, "commands", {}):
        node = node.commands[words.pop(0)]
    assert not getattr(node, "commands", {}) or words in (["--help"], ["--install-completion"])
    options = {option for one in node.params for option in (*one.opts, *one.secondary_opts)}
    given = {word.split("=")[0] for word in words if word.startswith("--")}
    assert command.startswith("hamlearn run") or given <= options | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: os.path.relpath(page, ROOT))
def test_lines_wrap(page):
    """Lines of text are at most 120 wide without addresses; those of tables cannot be broken."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "!", "<"))]
    assert max(len(re.sub(r"\]\([^)]*\)", "]", line)) for line in lines) <= 120
