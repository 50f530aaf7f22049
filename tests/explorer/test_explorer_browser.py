"""The explorer in a real browser, where there is one: search, follow, mark, reload."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from columns import settled
from fastapi import FastAPI
from fastapi.testclient import TestClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from ance_tele.data.review import read_review
from ance_tele.explorer.serve import listen, open_explorer

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on PATH")

HOSTILE = "x<i>"


@pytest.fixture(scope="module")
def run(explored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browsed") / "run"
    shutil.copytree(explored, folder)
    shutil.rmtree(folder / "analysis", ignore_errors=True)
    return folder


@pytest.fixture(scope="module")
def home(run: Path, explored: Path) -> Iterator[str]:
    """The explorer, all of whose checkpoints answer."""
    app = open_explorer(run, explored.parent / "data")
    with TestClient(app, base_url="http://localhost") as client:
        settled(client)
    with served(open_explorer(run, explored.parent / "data")) as home:
        yield home


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve an application by another thread of this process; yields its address."""
    import uvicorn

    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    driver.set_page_load_timeout(30)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome, home: str, run: Path) -> Iterator[webdriver.Chrome]:
    """A wide window without a page; afterwards nothing is marked, and nothing was complained of."""
    resize(chromium, 1400)
    chromium.get("about:blank")
    chromium.get_log("browser")
    yield chromium
    (run / "review.csv").unlink(missing_ok=True)
    assert [entry["message"] for entry in chromium.get_log("browser")] == []


def resize(browser: webdriver.Chrome, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def wait(browser: webdriver.Chrome, until: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, 15, poll_frequency=0.05).until(lambda _: until())


def all_of(browser: webdriver.Chrome, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def row_of(browser: webdriver.Chrome, passage: str) -> WebElement:
    rows = wait(
        browser, lambda: [row for row in all_of(browser, "tbody tr") if row.get_attribute("data-id") == passage]
    )
    return rows[0]


def follow(browser: webdriver.Chrome, home: str, query: str = "q00-0") -> None:
    """Open the list of training queries and choose one."""
    browser.get(f"{home}#/queries")
    link = f"#list a[data-id='{query}']"
    wait(browser, lambda: all_of(browser, link))[0].click()
    wait(browser, lambda: all_of(browser, "tbody tr"))


def test_the_same_question_to_every_episode(browser: webdriver.Chrome, home: str) -> None:
    browser.get(home)
    wait(browser, lambda: browser.find_element(By.ID, "run").text == "run")
    browser.find_element(By.TAG_NAME, "body").send_keys("/")
    box = browser.switch_to.active_element
    assert box.get_attribute("id") == "words"
    box.send_keys("t0 u0", Keys.ENTER)
    wait(browser, lambda: "3 models" in browser.find_element(By.ID, "found").text)
    assert [head.text for head in all_of(browser, ".column h3")] == ["zero-shot", "episode 1", "episode 2"]
    assert [len(column.find_elements(By.CLASS_NAME, "hit")) for column in all_of(browser, ".column")] == [10, 10, 10]
    first = all_of(browser, ".column:last-child .hit button")[0]
    browser.execute_script("arguments[0].focus()", first)
    chosen = first.find_element(By.XPATH, "..").get_attribute("data-id")
    same = [hit.get_attribute("data-id") for hit in all_of(browser, ".hit.same")]
    shown = [hit.get_attribute("data-id") for hit in all_of(browser, ".hit")]
    assert same and set(same) == {chosen} and len(same) == shown.count(chosen)
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    second = browser.switch_to.active_element
    assert second == all_of(browser, ".column:last-child .hit button")[1]
    second.send_keys(Keys.ARROW_LEFT)
    assert browser.switch_to.active_element == all_of(browser, ".column:nth-child(2) .hit button")[1]


def test_episodes_join_as_they_are_encoded(
    browser: webdriver.Chrome, run: Path, explored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question is answered by the last one at once, and by the others without being asked again."""
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path))

    def columns() -> list[str]:
        return [column.text.splitlines()[0] for column in all_of(browser, ".column:not(.coming)")]

    def requests() -> int:
        script = "return performance.getEntriesByName(arguments[0]).length"
        return int(browser.execute_script(script, f"{home}api/columns"))

    with served(open_explorer(run, explored.parent / "data")) as home:
        browser.get(home)
        wait(browser, lambda: "zero-shot, episode 1." in browser.find_element(By.ID, "coming").text)
        browser.get(f"{home}#/search?words=t0+u0")
        wait(browser, lambda: "1 model;" in browser.find_element(By.ID, "found").text)
        assert columns() == ["episode 2"]
        assert {"zero-shot", "episode 1"} == {box.text.splitlines()[0] for box in all_of(browser, ".coming")}
        assert any("encoded" in box.text for box in all_of(browser, ".coming"))
        first = all_of(browser, ".hit button")[0]
        first.click()
        WebDriverWait(browser, 90, poll_frequency=0.2).until(lambda _: len(columns()) == 3)
        wait(browser, lambda: "3 models;" in browser.find_element(By.ID, "found").text)
        assert columns() == ["zero-shot", "episode 1", "episode 2"]
        assert first.get_attribute("aria-expanded") == "true"  # what was there stayed
        assert len(all_of(browser, ".hit")) == 30 and len(all_of(browser, ".column:last-child .moved span")) == 10
        assert not all_of(browser, ".column:first-child .moved span")
        asked = requests()
        time.sleep(2.5)
        assert requests() == asked  # nothing is coming any more


def test_the_first_page_has_questions_to_begin_with(browser: webdriver.Chrome, home: str) -> None:
    """Links that the keyboard reaches; they give way to the answers, and nothing moves while the page is built."""
    browser.get("about:blank")
    browser.get(home)
    wait(browser, lambda: all_of(browser, "#examples a"))
    links = all_of(browser, "#examples a")
    assert len(links) == 6 and all(link.is_displayed() for link in links)
    assert browser.find_element(By.ID, "examples-heading").text == "Queries of the test split, to begin with"
    shifts = """const done = arguments[0], seen = [];
        const observer = new PerformanceObserver((list) => seen.push(...list.getEntries()));
        observer.observe({type: "layout-shift", buffered: true});
        setTimeout(() => done(seen.reduce((sum, one) => sum + one.value, 0)), 300);"""
    assert browser.execute_async_script(shifts) < 0.01
    browser.find_element(By.ID, "words").send_keys(Keys.TAB, Keys.TAB, Keys.TAB)
    assert browser.switch_to.active_element == links[0]
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert browser.switch_to.active_element == links[1]
    words = links[1].text
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait(browser, lambda: "3 models" in browser.find_element(By.ID, "found").text)
    assert browser.find_element(By.ID, "words").get_attribute("value") == words
    assert not browser.find_element(By.ID, "examples").is_displayed()
    browser.back()
    wait(browser, lambda: browser.find_element(By.ID, "examples").is_displayed())
    assert not browser.find_element(By.ID, "columns").is_displayed()


def test_an_empty_question_gets_a_sentence(browser: webdriver.Chrome, home: str) -> None:
    browser.get(home)
    wait(browser, lambda: browser.find_element(By.ID, "run").text == "run")
    browser.find_element(By.CSS_SELECTOR, "#search button").click()
    error = wait(browser, lambda: browser.find_element(By.ID, "error").text)
    assert error == "The query is empty; give some words to search for."


def test_text_of_the_corpus_stays_text(browser: webdriver.Chrome, home: str) -> None:
    browser.get(f"{home}#/search?words=t0+u0&k=100")
    wait(browser, lambda: "3 models" in browser.find_element(By.ID, "found").text)
    titles = [title.text for title in all_of(browser, ".title") if "<" in title.text]
    assert titles and set(titles) == {"t0 <b>"}
    texts = [text.get_property("textContent") for text in all_of(browser, ".text")]
    hostile = [text for text in texts if "hacked" in text]
    assert hostile and all(text.endswith(" <script>window.hacked=1</script><b>") for text in hostile)
    follow(browser, home)
    assert "<script>window.hacked=1</script><b>" in row_of(browser, HOSTILE).get_property("textContent")
    assert browser.execute_script(
        "return [typeof window.hacked, document.querySelectorAll('main script, .title *, .text *').length]"
    ) == [
        "undefined",
        0,
    ]


def test_a_mark_is_there_after_a_reload(browser: webdriver.Chrome, home: str, run: Path) -> None:
    follow(browser, home)
    assert browser.find_element(By.CSS_SELECTOR, "#case h2").text.startswith("t0 u0")
    assert browser.find_element(By.CSS_SELECTOR, ".chart").get_attribute("aria-label").startswith("MRR@20: zero-shot ")
    assert "ance-tele report" in browser.find_element(By.ID, "notice").text
    row_of(browser, HOSTILE).find_element(By.CSS_SELECTOR, "button[data-verdict=relevant]").click()
    wait(browser, lambda: "1 mark (1 relevant" in browser.find_element(By.ID, "review").text)
    assert [(row.query_id, row.passage_id, row.verdict) for row in read_review(run / "review.csv")] == [
        ("q00-0", HOSTILE, "relevant")
    ]
    browser.refresh()
    row = row_of(browser, HOSTILE)
    assert row.get_attribute("data-verdict") == "relevant"
    pressed = [button.text for button in row.find_elements(By.CSS_SELECTOR, "[aria-pressed=true]")]
    assert pressed == ["relevant"]
    row.find_element(By.CSS_SELECTOR, "button[data-verdict=relevant]").click()
    wait(browser, lambda: "0 marks" in browser.find_element(By.ID, "review").text)
    assert row_of(browser, HOSTILE).get_attribute("data-verdict") is None and read_review(run / "review.csv") == []


def test_rows_are_marked_by_key(browser: webdriver.Chrome, home: str, run: Path) -> None:
    follow(browser, home)
    rows = all_of(browser, "tbody tr")
    assert [row.get_attribute("tabindex") for row in rows] == ["0"] + ["-1"] * (len(rows) - 1)
    browser.execute_script("arguments[0].focus()", rows[0])
    browser.switch_to.active_element.send_keys("n")
    wait(browser, lambda: "1 negative" in browser.find_element(By.ID, "review").text)
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert browser.switch_to.active_element == rows[1]
    browser.switch_to.active_element.send_keys("u")
    wait(browser, lambda: "1 unsure" in browser.find_element(By.ID, "review").text)
    browser.switch_to.active_element.send_keys("r")
    wait(browser, lambda: "(1 relevant, 1 negative, 0 unsure)" in browser.find_element(By.ID, "review").text)
    assert browser.find_element(By.ID, "status").get_attribute("textContent").startswith("Marked relevant: ")
    ids = [row.get_attribute("data-id") for row in rows[:2]]
    verdicts = {row.passage_id: row.verdict for row in read_review(run / "review.csv")}
    assert verdicts == {ids[0]: "negative", ids[1]: "relevant"}


def test_negatives_that_came_back_can_be_picked_out(browser: webdriver.Chrome, home: str) -> None:
    follow(browser, home)
    label = browser.find_element(By.CSS_SELECTOR, "[data-filter=back]")
    count = int(label.text.split()[-1])
    label.click()
    wait(browser, lambda: all_of(browser, "[data-filter=back][aria-pressed=true]"))
    rows = all_of(browser, "tbody tr")
    assert len(rows) == count and all("↺" in row.text for row in rows)


def test_the_list_is_searched_and_paged(browser: webdriver.Chrome, home: str) -> None:
    browser.get(f"{home}#/queries")
    wait(browser, lambda: browser.find_element(By.ID, "list-count").text.startswith("1–50 of 72"))
    disabled = [option.text for option in all_of(browser, "#sort option:disabled")]
    assert len(disabled) == 4 and disabled[0].startswith("most forgotten")
    browser.find_element(By.ID, "next").click()
    wait(browser, lambda: browser.find_element(By.ID, "list-count").text.startswith("51–72 of 72"))
    browser.find_element(By.ID, "filter-words").send_keys("T5 U3", Keys.ENTER)
    wait(browser, lambda: browser.find_element(By.ID, "list-count").text.startswith("1–3 of 3"))
    assert len(all_of(browser, "#list a")) == 3


def test_it_fits_a_narrow_window(browser: webdriver.Chrome, home: str) -> None:
    for width in (390, 1400):
        resize(browser, width)
        for page in ("#/search?words=t0+u0", "#/queries", "#/queries?id=q00-0"):
            browser.get("about:blank")
            browser.get(home + page)
            wait(browser, lambda: all_of(browser, ".hit, #list a, tbody tr"))
            wait(browser, lambda: not all_of(browser, "[aria-busy]"))
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, (page, width)
            if page.endswith("q00-0"):
                buttons = all_of(browser, "tbody tr:first-child .verdict button")
                assert [button.text for button in buttons] == ["relevant", "negative", "unsure"]
                edges = [button.rect for button in buttons]
                assert all(edge["width"] >= 50 and edge["x"] + edge["width"] <= width for edge in edges), edges
