"""The page in headless Chromium: sorting, enlarging, keyboard, no request, no axe violation, phone, print, weight."""

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from csg_analysis.report.build import build_report
from tests.analysis.report.cases import HELP, table, write_all, write_predictions, write_run
from tests.analysis.report.test_parts import write_attention_scores, write_circle, write_similarity

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'csg-toolkit[test]' for the browser tests")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="as above")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (apt-get install chromium)")

EVIL = "<img src=x onerror=document.title='executed'>"
WIDTHS = (360, 800, 1400)
MOST_BYTES = 330_000
"""Weight of the fixture's page: four methods, two classes, two pictures under each method, six with masks under two."""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of four methods, one of them and a class with HTML in its name; one run has no energy.

    Two runs have the records that only some runs have, predicted masks of six pictures among them.
    """
    root = tmp_path_factory.mktemp("browser")
    write_all(root / "runs", HELP, classes=[EVIL, "fish"])
    lonely = write_run(root / "runs", EVIL, classes=[EVIL, "fish"], right=40)
    for folder in (lonely, root / "runs/clean-csg-0"):
        write_attention_scores(folder, 0.4)
        write_similarity(folder, 0.6)
        write_predictions(folder, count=6, wrong=12)
    write_circle([lonely, root / "runs/clean-csg-0"])
    (lonely / "energy-target.json").unlink()
    return build_report([root / "runs"], root / "out", allow_mixed=False).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any, out: Path) -> Iterator[Any]:
    """The report, opened; at its end nothing was fetched but the page, and the console is empty."""
    opened = browser.new_page(viewport={"width": 1400, "height": 900})
    asked, said = [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.route("**/*", lambda route: route.continue_() if route.request.url.startswith("file:") else route.abort())
    address = (out / "index.html").as_uri()
    opened.goto(address)
    yield opened
    opened.close()
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert said == []


def header(page: Any, name: str, label: str) -> Any:
    """A heading of a table; of several with this label the first."""
    cell = page.locator(f"table[aria-labelledby=table-{name}] thead th").filter(
        has=page.locator(".label").get_by_text(label, exact=True)
    )
    return cell.first


def shown(page: Any, name: str) -> list[str]:
    """The first line of each row's heading, from top to bottom."""
    rows = page.locator(f"table[aria-labelledby=table-{name}] tbody th[scope=row]")
    return [str(text).split("\n")[0] for text in rows.all_inner_texts()]


@pytest.mark.parametrize(
    ("name", "label", "row", "field"),
    [
        ("methods", "E₀", "row", "e0_mhe"),
        ("methods", "Accuracy", "row", "mean_per_class_percent"),
        ("methods", "ΔE₀", "row", "e0_mhe_minus_baseline"),
        ("runs", "E₀", "run", "e0_mhe"),
        ("runs", "Accuracy", "run", "mean_per_class_percent"),
    ],
)
def test_a_click_sorts_by_value(page: Any, out: Path, name: str, label: str, row: str, field: str) -> None:
    """Ascending, then descending, rows without a value last in both; a third click restores the first order."""
    rows = table(out, name)
    known = [record for record in rows if record.get(field) is not None]
    without = [record[row] for record in rows if record.get(field) is None]
    head, before = header(page, name, label), shown(page, name)
    assert before == [record[row] for record in rows]
    for order, reverse in (("ascending", False), ("descending", True)):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order
        expected = sorted(known, key=lambda record: record[field], reverse=reverse)
        assert shown(page, name) == [record[row] for record in expected] + without
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert shown(page, name) == before


def test_names_sort_as_text_and_one_heading_at_a_time(page: Any, out: Path) -> None:
    names = sorted(str(record["run"]) for record in table(out, "runs"))
    header(page, "runs", "E₀").get_by_role("button").click()
    header(page, "runs", "Run").get_by_role("button").click()
    assert sorted(shown(page, "runs")) == names
    assert [name for name in shown(page, "runs") if EVIL not in name] == [name for name in names if EVIL not in name]
    assert page.locator("table[aria-labelledby=table-runs] [aria-sort]").count() == 1


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_the_keyboard_sorts(page: Any, key: str) -> None:
    head = header(page, "methods", "E₀")
    head.get_by_role("button").focus()
    for expected in ("ascending", "descending", None):
        page.keyboard.press(key)
        assert head.get_attribute("aria-sort") == expected


@pytest.mark.parametrize("how", ["click", "Enter"])
@pytest.mark.parametrize("picture", ["Enlarge: Energy against accuracy", "Enlarge csg on fish/b.png"])
def test_a_picture_enlarges_and_escape_returns_the_focus(page: Any, picture: str, how: str) -> None:
    button = page.get_by_role("button", name=picture, exact=True)
    small = button.bounding_box()["width"]
    if how == "click":
        button.click()
    else:
        button.focus()
        page.keyboard.press(how)
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert dialog.locator("form p").inner_text() == button.get_attribute("data-caption")
    assert dialog.locator(".body > *").bounding_box()["width"] > small
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.ariaLabel") == picture


def test_arrow_keys_go_round_all_pictures(page: Any) -> None:
    captions = page.locator("button.zoom").evaluate_all("all => all.map((one) => one.dataset.caption)")
    page.locator("button.zoom").first.click()
    text = page.get_by_role("dialog").locator("form p")
    seen = []
    for _ in captions:
        seen.append(text.inner_text())
        page.keyboard.press("ArrowRight")
    assert seen == captions
    assert text.inner_text() == captions[0]
    page.keyboard.press("ArrowLeft")
    assert text.inner_text() == captions[-1]


def test_html_in_names_is_text(page: Any) -> None:
    """As the first cell of a row, and nowhere as an element: no handler ran, no picture was asked for."""
    assert EVIL in shown(page, "methods")
    assert EVIL in shown(page, "per_class")
    page.locator("button.zoom").last.click()
    assert page.locator("img:not([src^='data:'])").count() == 0
    assert page.locator("[onerror]").count() == 0
    assert page.title() != "executed"


def violations(page: Any, within: str | None = None) -> list[str]:
    found = axe.Axe().run(page, within, {"resultTypes": ["violations"]}).response["violations"]
    return [f"{rule['id']}: {node['html'][:120]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize(("scheme", "width"), list(product(("light", "dark"), WIDTHS)))
def test_axe_finds_no_violation(page: Any, scheme: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert violations(page) == []
    page.locator("button.zoom").first.click()
    assert violations(page, "dialog") == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_itself_never_scrolls_sideways(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_screen_has_statements_and_picture(page: Any) -> None:
    """Side by side on a desktop; on a phone the whole picture below the statements, without scrolling sideways."""
    for width, beside in ((1400, True), (400, False)):
        page.set_viewport_size({"width": width, "height": 900})
        said, drawn = page.locator(".statements").bounding_box(), page.locator("figure.headline svg").bounding_box()
        assert (drawn["x"] >= said["x"] + said["width"]) == beside
        assert (drawn["y"] >= said["y"] + said["height"]) != beside
        assert drawn["x"] + drawn["width"] <= width
        if beside:
            assert max(box["y"] + box["height"] for box in (said, drawn)) <= 900


def test_print_shows_every_row(page: Any, out: Path) -> None:
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")  # what is folded is printed as well
    tables = page.locator("table.sortable").evaluate_all(
        "all => all.map((one) => [one.getAttribute('aria-labelledby'), one.tBodies[0].rows.length])"
    )
    assert dict(tables)["table-runs"] == len(table(out, "runs"))
    assert page.locator("tbody tr").evaluate_all("rows => rows.every((row) => row.checkVisibility())")
    regions = page.locator(".scroll").evaluate_all("all => all.map((one) => getComputedStyle(one).overflowX)")
    assert set(regions) == {"visible"}
    assert not page.locator("nav.toc").is_visible()


def test_weight_of_the_page(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that a reader's browser loads is this one file."""
    weight = (out / "index.html").stat().st_size
    with capsys.disabled():
        print(f"\nindex.html: {weight / 1000:.0f} kB")
    assert weight < MOST_BYTES
