"""The page in a real browser: it is opened, filtered, searched, sorted and looked at."""

import importlib.util
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from hamlearn.report import browser as report_browser
from hamlearn.report.page import write_report
from tests.chromium import ABSENT, REASON, complaints, opened, resize
from tests.report.fabricated import Made, make

pytestmark = pytest.mark.skipif(bool(ABSENT), reason=REASON)

HOSTILE = "<img/src=x/onerror=document.title='taken'>"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three variants and two seeds on two corpora, with pictures and with markup for words."""
    results = make(
        tmp_path_factory.mktemp("seen") / "results",
        corpora={"demo": True, "other": False},
        variants=("full", "wo_rgcn", "text_only"),
        seeds=(0, 1),
        pictures=True,
        failures={"test_3": ("undecodable", "zero bytes")},
        word=HOSTILE,
    )
    write_report(results.settings, results.metrics, results.root, results.out)
    return results


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def address(made: Made, fragment: str = "") -> str:
    return (made.out / "index.html").as_uri() + fragment


@pytest.fixture
def page(driver: WebDriver, seen: Made) -> Iterator[WebDriver]:
    resize(driver, 1200, 900)
    driver.get("about:blank")
    driver.get(address(seen))
    assert driver.execute_script("return document.documentElement.dataset.ready") == "yes"
    yield driver
    assert complaints(driver) == []
    assert driver.title.startswith("HamLearning report")  # no word of a post ran as a script


def first_browser(page: WebDriver) -> WebElement:
    found = page.find_element(By.CSS_SELECTOR, ".browser")
    page.execute_script("arguments[0].scrollIntoView()", found)
    return found


def field(found: WebElement, name: str) -> Select:
    return Select(found.find_element(By.CSS_SELECTOR, f"select[data-name='{name}']"))


def count(found: WebElement) -> str:
    return found.find_element(By.TAG_NAME, "output").text


def shown_id(found: WebElement) -> str:
    return found.find_element(By.CLASS_NAME, "id").text.split(" ")[0]


def test_posts_are_listed_with_gold_predictions_picture_boxes_and_relevance(page: WebDriver):
    found = first_browser(page)
    assert count(found) == "1 of 60 posts"
    lines = [line.text for line in found.find_elements(By.CLASS_NAME, "line")]
    assert [line.split(HOSTILE)[0].strip() for line in lines] == [
        "gold",
        "A: full, seed 0",
        "B: full, seed 1",
    ]
    assert all(HOSTILE in line and "Jasmine Lee" in line for line in lines)
    assert found.find_elements(By.CSS_SELECTOR, ".frame rect")
    assert (
        "relevance of the picture: semantic" in found.find_element(By.CLASS_NAME, "relevance").text
    )
    assert (
        page.execute_script("return document.querySelector('.frame img').naturalWidth")
        == report_browser.SIDE
    )


def test_filters_agree_with_the_labels(page: WebDriver, seen: Made):
    found = first_browser(page)
    field(found, "A").select_by_visible_text("full, seed 0")
    field(found, "B").select_by_visible_text("text_only, seed 0")
    field(found, "show").select_by_value("better")
    better = int(count(found).split(" ")[2])
    field(found, "show").select_by_value("wrong")
    wrong = int(count(found).split(" ")[2]) if "of" in count(found) else 0
    field(found, "show").select_by_value("right")
    assert wrong + int(count(found).split(" ")[2]) == 60
    assert better > 10  # half of three cues, by LOSSES
    field(found, "show").select_by_value("all")
    field(found, "picture").select_by_value("without")
    assert count(found) == "1 of 1 posts"
    assert "no usable picture (undecodable: zero bytes)" in found.text
    field(found, "picture").select_by_value("")
    field(found, "cue").select_by_value("relation")
    assert count(found) == "1 of 15 posts"
    field(found, "A").select_by_visible_text("text_only, seed 0")
    field(found, "outcome in A").select_by_visible_text("wrong type")
    of_cue = int(count(found).split(" ")[2])
    field(found, "cue").select_by_value("")
    assert 0 < of_cue < int(count(found).split(" ")[2])
    assert "wrong type" in found.find_elements(By.CLASS_NAME, "line")[1].text


def test_search_keys_and_links(page: WebDriver, seen: Made):
    found = first_browser(page)
    body = page.find_element(By.TAG_NAME, "body")
    body.send_keys("/")
    assert page.switch_to.active_element.get_attribute("type") == "search"
    page.switch_to.active_element.send_keys("TEST_1")
    assert count(found) == "1 of 1 posts"  # a whole word
    found.find_element(By.CSS_SELECTOR, "input[type='checkbox']").click()
    assert count(found) == "1 of 11 posts"  # test_1 and test_10 to test_19
    page.switch_to.active_element.send_keys(Keys.TAB)
    page.execute_script("document.activeElement.blur()")
    body.send_keys("j")
    body.send_keys(Keys.ARROW_RIGHT)
    assert (count(found), shown_id(found)) == ("3 of 11 posts", "test_11")
    body.send_keys("k")
    assert shown_id(found) == "test_10"
    link = page.current_url
    assert link.endswith("#post/demo/test_10?search=TEST_1&whole+words=false")
    page.get("about:blank")
    page.get(link)  # with the filters
    assert count(first_browser(page)) == "2 of 11 posts"
    page.get("about:blank")
    page.get(link.replace("/demo/", "/other/").replace("test_10", "test_42"))
    other = page.find_elements(By.CSS_SELECTOR, ".browser")[1]
    assert shown_id(other) == "test_42"
    assert shown_id(first_browser(page)) == "test_0"
    page.execute_script("location.hash = '#post/demo/test_7'")
    WebDriverWait(page, 60).until(lambda _: shown_id(first_browser(page)) == "test_7")


ODD_ID = "#% 100%25/é?&'\""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A report in a folder, and of a post, whose names are special in addresses."""
    made = make(tmp_path_factory.mktemp("odd") / "a#b%20c?%" / "results")
    posts = made.root / "corpus" / "demo" / "posts.jsonl"
    predictions = list(made.root.rglob("test.jsonl"))
    for path in (posts, *predictions):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"test_5"', json.dumps(ODD_ID)), encoding="utf-8")
    write_report(made.settings, made.metrics, made.root, made.out)
    return made


@pytest.mark.parametrize("fragment", ["", "#%", "##%", "#post/%/%", "#post/demo/%E9", "#%00/a/b/c"])
def test_any_fragment_of_the_address_opens_the_page(driver: WebDriver, odd: Made, fragment: str):
    driver.get("about:blank")
    driver.get(address(odd, fragment))
    assert driver.execute_script("return document.documentElement.dataset.ready") == "yes"
    assert field(first_browser(driver), "show").first_selected_option.text == "A and B differ"
    driver.execute_script("location.hash = '%'")
    driver.execute_script("location.hash = 'post/demo/test_7'")
    WebDriverWait(driver, 60).until(lambda _: shown_id(first_browser(driver)) == "test_7")
    assert complaints(driver) == []


def test_a_post_of_any_name_has_a_link(driver: WebDriver, odd: Made):
    driver.get("about:blank")
    driver.get(address(odd))
    found = first_browser(driver)
    field(found, "show").select_by_value("all")
    found.find_element(By.CSS_SELECTOR, "input").send_keys(ODD_ID)
    assert count(found) == "1 of 1 posts"
    link = found.find_element(By.CLASS_NAME, "link").get_attribute("href")
    driver.get("about:blank")
    driver.get(link)
    assert first_browser(driver).find_element(By.CLASS_NAME, "id").text == ODD_ID
    for anchor in driver.find_elements(By.CSS_SELECTOR, "nav a"):
        target = anchor.get_attribute("href")
        driver.get(target)
        part = driver.execute_script("return decodeURIComponent(location.hash.slice(1))")
        assert driver.execute_script("return !!document.getElementById(arguments[0])", part)
    assert complaints(driver) == []


def test_tables_are_sorted_by_mouse_and_by_key(page: WebDriver):
    table = page.find_element(By.CSS_SELECTOR, "#demo > .table table")
    heads = table.find_elements(By.CSS_SELECTOR, "thead tr:last-child th")

    def column(place: int) -> list[str]:
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr:not(.reference):not(.total)")
        return [row.find_elements(By.CSS_SELECTOR, "th, td")[place].text for row in rows]

    before = column(3)
    button = heads[3].find_element(By.TAG_NAME, "button")
    button.click()
    falling = [float(text.split(" ")[0]) for text in column(3)]
    assert falling == sorted(falling, reverse=True)
    assert heads[3].get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.ENTER)
    rising = [float(text.split(" ")[0]) for text in column(3)]
    assert rising == sorted(rising)
    assert sorted(before) == sorted(column(3))
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert column(0) == sorted(column(0))


@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_on_a_phone_and_in_the_dark(seen: Made, tmp_path: Path, dark: bool):
    with opened(tmp_path / "profile", dark) as driver:
        resize(driver, 400, 800)
        driver.get(address(seen))
        widths = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert widths == [400, 400]
        background, ink = driver.execute_script(
            "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        )
        lightness = [sum(map(int, rgb[4:-1].split(", "))) for rgb in (background, ink)]
        assert (lightness[0] < lightness[1]) == dark
        assert abs(lightness[0] - lightness[1]) > 400
        picture = tmp_path / "page.png"
        first_browser(driver)
        assert driver.save_screenshot(str(picture))
        assert picture.stat().st_size > 10_000
        assert complaints(driver) == []


def test_what_is_printed_fits_the_paper_and_has_no_controls(page: WebDriver):
    resize(page, 718, 1000)  # A4 with the usual margins
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        width = page.execute_script("return document.documentElement.scrollWidth")
        controls = page.find_elements(By.CSS_SELECTOR, "nav, .browser, .copies, #demo-posts")
        shown = [one.get_attribute("class") for one in controls if one.is_displayed()]
        settings = page.find_element(By.CSS_SELECTOR, "#settings pre")
        height = settings.size["height"]
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert width == 718
    assert len(controls) > 5
    assert shown == []
    assert height > 300  # though they are folded on a screen


AXE = importlib.util.find_spec("axe_core_python")  # which comes with axe.min.js
PLAIN = r"""
for (const one of document.querySelectorAll("*")) {
  const found = getComputedStyle(one).backgroundColor.match(/^color\(srgb ([^/)]+)(?:\/(.+))?\)$/);
  if (!found) continue;
  const parts = found[1].trim().split(" ").map((share) => 255 * Number(share));
  one.style.backgroundColor = `rgba(${parts.join()},${found[2] ?? 1})`;
}
"""  # axe-core cannot read what color-mix is computed to, and leaves the rule out


@pytest.mark.skipif(AXE is None, reason="axe-core-python absent, which holds axe-core")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_axe_finds_no_violation(seen: Made, tmp_path: Path, width: int, dark: bool):
    script = Path(str(AXE.origin)).with_name("axe.min.js").read_text("utf-8")
    with opened(tmp_path / "profile", dark) as driver:
        resize(driver, width, 800)
        driver.get(address(seen))
        driver.set_script_timeout(120)  # seconds; half a minute is little on a busy machine
        driver.execute_script(PLAIN)
        driver.execute_script(script)
        found, failed = driver.execute_async_script(
            "const done = arguments[0]; axe.run(document).then((found) => done(["
            "found.violations.map((one) =>"
            " [one.id, one.nodes.length, one.nodes[0].html.slice(0, 200)]),"
            "found.incomplete.filter((one) => one.error).map((one) => [one.id, one.message])]))"
        )
    assert found == []
    assert failed == []  # rules that could not be tried


def test_values_are_shown_on_focus_and_tables_can_be_copied(page: WebDriver):
    mark = page.find_element(By.CSS_SELECTOR, ".hero .tip[aria-label^=full]")
    page.execute_script("arguments[0].focus()", mark)
    shown = [one.text for one in page.find_elements(By.CLASS_NAME, "bubble") if one.is_displayed()]
    assert shown == [mark.get_attribute("aria-label")]
    assert shown[0].startswith("full: ")
    assert "99% interval" in shown[0]
    tables = page.find_elements(By.CSS_SELECTOR, "main .table")
    for table in tables:
        labels = [
            one.get_attribute("textContent")
            for one in table.find_elements(By.CSS_SELECTOR, ".copies button")
        ]
        assert labels == ["copy CSV", "copy LaTeX"]


def test_an_entry_of_a_legend_highlights_its_series(page: WebDriver):
    entry = page.find_element(By.CSS_SELECTOR, "#demo .columns .entry[data-series=wo_rgcn]")
    figure = entry.find_element(By.XPATH, "ancestor::figure")
    page.execute_script("arguments[0].focus()", entry)
    dimmed = figure.find_elements(By.CLASS_NAME, "dimmed")
    series = {part.get_attribute("data-series") for part in dimmed}
    assert series >= {"full", "text_only"}
    assert "wo_rgcn" not in series
    page.execute_script("arguments[0].blur()", entry)
    assert not figure.find_elements(By.CLASS_NAME, "dimmed")


def test_the_part_in_view_is_marked_in_the_contents(page: WebDriver):
    page.execute_script("document.getElementById('demo-types').scrollIntoView()")
    selector = ".contents [aria-current]"
    WebDriverWait(page, 60).until(
        lambda _: (
            [one.text for one in page.find_elements(By.CSS_SELECTOR, selector)]
            == ["By entity type"]
        )
    )


def test_three_thousand_posts_open(tmp_path: Path, driver: WebDriver, monkeypatch):
    body = "data:image/jpeg;base64," + 11_000 * "A"  # as long as a thumbnail of a photograph
    monkeypatch.setattr(report_browser, "_thumbnails", lambda posts, _: (body for _ in posts))
    sizes = {"train": 20, "dev": 20, "test": 3000}
    made = make(tmp_path / "results", variants=("full", "text_only"), sizes=sizes)
    write_report(made.settings, made.metrics, made.root, made.out)
    assert 30e6 < (made.out / "index.html").stat().st_size < 60e6
    taken = []
    for _ in range(3):
        driver.get("about:blank")
        started = time.monotonic()
        driver.get(address(made))
        taken.append(time.monotonic() - started)
        field(first_browser(driver), "show").select_by_value("all")
        assert count(first_browser(driver)) == "1 of 3000 posts"
    assert min(taken) < 30, taken  # against hangs: 3 on an idle machine
    found = first_browser(driver)
    started = time.monotonic()
    found.find_element(By.CSS_SELECTOR, "input").send_keys("test_2999")
    assert count(found) == "1 of 1 posts"
    assert time.monotonic() - started < 30
    print(f"3,000 posts: opened in {min(taken):.2f} s")
