import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from hamlearn.errors import HamlearnError
from hamlearn.outputs import FIGURES, atomic_folder
from hamlearn.report.page import write_report
from hamlearn.settings import Settings
from tests.report.fabricated import CUES, SYSTEMS, Made, make
from tests.report.markup import without_scripts

RANDOM = "random weights: visual scores carry no meaning"
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(HTMLParser):
    """Checks that tags nest, and keeps tags, attributes and shown text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def read(made: Made) -> Reader:
    reader = Reader()
    reader.feed((made.out / "index.html").read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


def report(made: Made) -> str:
    write_report(made.settings, made.metrics, made.root, made.out)
    return without_scripts((made.out / "index.html").read_text(encoding="utf-8"))


def test_page_is_whole_and_in_order(made: Made, page: str) -> None:
    read(made)
    heads = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", page)
    contents = re.findall(r'<li class="level-[23]"><a href="#[^"]*">(.*?)</a>', page)
    assert contents == heads
    assert heads == [
        "demo",
        "Scores",
        "Every test post",
        "What decides the type",
        "What the numbers say",
        "Do the images help?",
        "By entity type",
        "Where it goes wrong",
        "Training",
        "Relevance of pictures",
        "What demo found in pictures",
        "Corpus",
        "Coverage",
        "Runs",
        "Where the features come from",
        "Settings",
    ]


def test_nothing_is_loaded_from_anywhere(made: Made, several: Made) -> None:
    for results in (made, several):
        reader = read(results)
        assert not {"link", "img", "iframe", "object", "base"} & {t for t, _ in reader.tags}
        for tag, attributes in reader.tags:
            for name, value in attributes.items():
                if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                    paper = tag == "a" and (value or "").startswith("https://arxiv.org/")
                    assert paper or (value or "").startswith("#"), (tag, name, value)
        page = (results.out / "index.html").read_text(encoding="utf-8")
        assert not re.search(
            r"@import|url\((?!#)|import\(|fetch\(|innerHTML|https?:(?!//arxiv|//www.w3)", page
        )
        assert "default-src 'none'" in page
        (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in page
        assert "<script" not in without_scripts(page)


def test_figures_lie_beside(made: Made) -> None:
    names = {path.name for path in (made.out / "figures").iterdir()}
    curves = {f"demo-demo-{v}-training.svg" for v in SYSTEMS if v != "text_only"}
    assert names == curves | {
        ".hamlearn.json",
        "demo-none-text_only-training.svg",
        "demo-demo-f1-by-cue.svg",
        "demo-demo-f1-by-length.svg",
        "demo-demo-f1-by-objects.svg",
        "demo-demo-full-relevance.svg",
        "demo-demo-objects.svg",
        "demo-systems.svg",
    }
    assert made.metrics.is_file()
    assert sorted(path.name for path in made.out.iterdir()) == [
        "controls.csv",
        "figures",
        "index.html",
        "metrics.csv",
        "relevance.csv",
    ]


def test_good_runs_have_no_warning(page: str) -> None:
    assert 'class="warning"' not in page
    assert 'class="caution"' not in page
    assert "random weights" not in page
    assert "no usable picture" not in page


def test_warnings_come_before_all_numbers(several: Made) -> None:
    page = (several.out / "index.html").read_text(encoding="utf-8")
    assert page.index(RANDOM) < page.index('<section id="demo">')
    for corpus in ("demo", "twitter2017"):
        for caution in (RANDOM, "6 of 96 posts have no usable picture"):
            assert re.search(rf'<a href="#{corpus}-warning-[0-9]">{caution}</a> \({corpus}\)', page)
    assert page.count("1 of 24 in train, 1 of 12 in dev, 4 of 60 in test") == 2
    assert page.count(RANDOM) == 2 + 2  # on the first screen, and where it applies
    targets = set(re.findall(r'href="#([^"]*-warning-[0-9])"', page))
    assert targets == set(re.findall(r'id="([^"]*-warning-[0-9])"', page))


def test_only_the_warning_that_is_due(tmp_path: Path) -> None:
    page = report(make(tmp_path, variants=("full",), random_weights=True))
    assert RANDOM in page
    assert "no usable picture" not in page


def test_text_alone_needs_no_warning(tmp_path: Path) -> None:
    failures = {"test_1": ("missing", "gone")}
    made = make(tmp_path, variants=("text_only",), random_weights=True, failures=failures)
    shutil.rmtree(tmp_path / "features")
    page = report(made)
    assert 'class="warning"' not in page
    assert 'class="caution"' not in page
    assert "Where the features come from" not in page
    assert "Relevance of pictures" not in page


def test_corpora_never_share_a_table(several: Made) -> None:
    page = (several.out / "index.html").read_text(encoding="utf-8")
    demo, real = (page.index(f'<section id="{name}">') for name in ("demo", "twitter2017"))
    for start, end, other in ((demo, real, "twitter2017"), (real, len(page), "demo ")):
        section = page[start:end]
        tables = re.findall(r"<table.*?</table>", section, flags=re.S)
        assert len(tables) >= 6
        if other == "twitter2017":
            assert not any(other in table for table in tables)
    assert "text ceiling" in page[demo:real]
    assert "text ceiling" not in page[real:]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    made = make(
        tmp_path,
        variants=("full", "text_only"),
        types=(bad, '"><img/src=x>', "a&amp;b", "$x$"),
        cue_names=(f"scene{bad}", "{{ 7 * 7 }}", '"onload="x', "text"),
        failures={"test_1": ("missing", f"<b>{bad}</b>")},
        encoder=f"hub/{bad}",
        word=bad,
    )
    page = report(made)
    reader = read(made)
    assert "<script" not in page
    assert "<img" not in page
    assert not any("onload" in attributes for _, attributes in reader.tags)
    shown = "".join(reader.text)
    for text in (bad, '"><img/src=x>', "a&amp;b", "$x$", "{{ 7 * 7 }}", '"onload="x', f"<b>{bad}"):
        assert text in shown
    assert f"hub/{bad}" in shown


def test_same_results_same_bytes_whatever_was_there(made: Made, tmp_path: Path) -> None:
    again = tmp_path / "again"
    with atomic_folder(again / "figures", FIGURES) as figures:
        (figures / "old.svg").touch()
    (again / "mine.txt").touch()
    write_report(made.settings, made.metrics, made.root, again)
    files = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    files.remove(Path("mine.txt"))
    assert len(files) == 1 + 11 + 1
    for file in files:
        assert (again / file).read_bytes() == (made.out / file).read_bytes()


def test_no_control_character_is_in_the_page_or_a_figure(tmp_path: Path) -> None:
    bad = "a\x1b[31m\x9b\x7f"
    made = make(tmp_path, variants=("full",), types=(bad, "B", "C", "D"), word=bad)
    report(made)
    for path in (made.out / "index.html", *(made.out / "figures").glob("*.svg")):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", path.read_text("utf-8")), path
    assert r"a\x1b[31m\x9b\x7f" in (made.out / "index.html").read_text("utf-8")


def test_figures_of_others_are_not_replaced(made: Made, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.svg").touch()
    with pytest.raises(HamlearnError, match=r"figures: holds 'mine\.svg'"):
        write_report(made.settings, made.metrics, made.root, tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "mine.svg"]


def test_a_page_of_others_is_not_replaced(made: Made, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(HamlearnError, match=r"index\.html: found a page that hamlearn did not"):
        write_report(made.settings, made.metrics, made.root, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_settings_are_shown_whole(made: Made) -> None:
    text = "".join(read(made).text)
    shown = text[text.index("corpus:\n") :]
    assert Settings.model_validate(yaml.safe_load(shown)) == made.settings


@pytest.mark.parametrize(
    "changes",
    [
        {"variants": ("full",)},
        {"variants": ("text_only",)},
        {"variants": ("wo_rm",)},
        {"cues": False},
        {"cues": False, "variants": ("text_only",), "corpora": {"real": False}},
        {"variants": ("full",), "types": ("PER",)},
        {"variants": ("full",), "failures": {f"test_{n}": ("missing", "x") for n in range(60)}},
    ],
)
def test_runs_that_lack_something_have_a_page(tmp_path: Path, changes: dict) -> None:
    made = make(tmp_path, **changes)
    page = report(made)
    read(made)
    assert ("What decides the type" in page) == changes.get("cues", True)


def test_state_is_one_sentence_a_corpus(made: Made, page: str) -> None:
    rows = [line.split(",") for line in made.metrics.read_text("utf-8").splitlines()]
    wanted = ["demo", "demo", "full", "0", "none", "test", "lenient", "all", "all", "all"]
    (row,) = [row for row in rows if row[:10] == wanted]
    f1 = f"{100 * float(row[12]):.2f}"
    sentence = f"demo: 5 variants, 1 seed, 96 posts; full reaches {f1} F1 on test"
    assert f'<p class="state">{sentence}' in page


def test_cues_are_columns_of_the_page(page: str) -> None:
    for cue in CUES:
        assert f'<th scope="col">{cue}</th>' in page
