"""The page in a real browser: it holds what it should, asks nobody, complains of nothing, and fits a phone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.report.browser import Browser, require
from tests.report.shelves import Demo
from variantforge.report import Report, gather
from variantforge.report.page import page

SECTIONS = (
    *("lineage", "files", "trade-offs", "gates", "measured", "answers", "training", "data", "time", "licences"),
)
OWN = "document.title='owned'"
HOSTILE = f'</pre></script><script>{OWN}</script><img src=//x.test/a onerror="{OWN}">'


@pytest.fixture(scope="module")
def file(told: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(page(told))
    return file


@pytest.fixture
def shown(browser: Browser, file: Path) -> Browser:
    browser.prefer("light")
    browser.resize(1280, 900)
    browser.open(file)
    return browser


def luminance(browser: Browser) -> float:
    """How bright the paper is, from 0 to 1."""
    colour = browser.ask("getComputedStyle(document.body).backgroundColor")
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255


def test_without_a_browser_a_desk_is_told_what_to_type_and_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install -y chromium"):
        require()
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="apt-get install -y chromium"):
        require()


def test_every_section_is_there_with_a_heading_and_its_drawings(shown: Browser) -> None:
    for section in SECTIONS:
        assert shown.ask(f"document.querySelector('#{section} h2').textContent"), section
    assert shown.ask("document.querySelectorAll('svg.chart').length") >= 5
    assert shown.ask("document.querySelectorAll('svg.forest').length") > 6
    assert shown.ask("document.querySelectorAll('.lineage .pill').length") == 7


def test_nothing_is_fetched_and_nothing_complained_of(shown: Browser, file: Path) -> None:
    shown.ask("document.querySelectorAll('details').forEach(it => it.open = true)")
    assert shown.requests == [file.as_uri()]
    assert shown.errors == []


def test_it_is_light_or_dark_as_the_reader_likes_or_says(shown: Browser) -> None:
    assert luminance(shown) > 0.9
    shown.prefer("dark")
    assert luminance(shown) < 0.1
    shown.ask("document.querySelector('label[for=theme-light]').click()")
    assert luminance(shown) > 0.9
    shown.prefer("light")
    shown.ask("document.querySelector('label[for=theme-dark]').click()")
    assert luminance(shown) < 0.1


def test_a_phone_need_not_scroll_sideways(shown: Browser) -> None:
    for width in (360, 390):
        shown.resize(width, 800, phone=True)
        assert shown.ask("document.documentElement.scrollWidth") == width
        spilling = shown.ask(
            "[...document.querySelectorAll('main *')].filter(it => !it.closest('.scroll') && !it.closest('svg') &&"
            " it.getBoundingClientRect().right > innerWidth + 1).map(it => it.tagName + '.' + it.className).join()"
        )
        assert spilling == ""


def test_a_click_on_a_columns_name_sorts_by_its_figures(shown: Browser) -> None:
    head = "[...document.querySelectorAll('#files .sortable th')].find(it => it.textContent.startsWith('size'))"
    sizes = "[...document.querySelectorAll('#files .sortable tbody tr')].map(it => Number(it.cells[3].dataset.v))"
    shown.ask(f"{head}.querySelector('button').click()")
    assert shown.ask(sizes) == sorted(shown.ask(sizes))
    assert shown.ask(f"{head}.getAttribute('aria-sort')") == "ascending"
    shown.ask(f"{head}.querySelector('button').click()")
    assert shown.ask(sizes) == sorted(shown.ask(sizes), reverse=True)


def test_without_scripts_all_is_there_and_the_theme_can_be_chosen(browser: Browser, file: Path) -> None:
    browser.prefer("light")
    browser.without_scripts(True)
    try:
        browser.open(file)
        assert browser.ask("document.querySelectorAll('section').length") == len(SECTIONS)
        assert browser.ask("document.querySelectorAll('th button').length") == 0
        browser.ask("document.querySelector('label[for=theme-dark]').click()")
        assert luminance(browser) < 0.1
    finally:
        browser.without_scripts(False)


def test_it_can_be_read_without_eyes_or_mouse(shown: Browser) -> None:
    unnamed = "[...document.querySelectorAll('svg[role=img]')].filter(it => !it.querySelector('title')?.textContent)"
    assert shown.ask(f"{unnamed}.length") == 0
    assert shown.ask("[...document.querySelectorAll('table')].filter(it => !it.caption).length") == 0
    assert shown.ask("[...document.querySelectorAll('.scroll')].every(it => it.tabIndex === 0)") is True
    levels = shown.ask("[...document.querySelectorAll('h1,h2,h3,h4')].map(it => Number(it.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels) if after > 2)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(shown: Browser, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least, for every text that is not drawn."""
    shown.prefer(scheme)
    assert shown.ask(CONTRAST) == []
    shown.ask("document.querySelector('.lead').style.color = '#888'")  # as seen on white or black: too little
    assert len(shown.ask(CONTRAST)) == (1 if scheme == "light" else 0)


# Texts whose contrast is below 4.5, over the first ancestor with a background of its own.
CONTRAST = """(() => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const bright = c => c.slice(0, 3).map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = it => { for (; it; it = it.parentElement) { const c = rgb(getComputedStyle(it).backgroundColor);
    if (c[3] > 250) return c; } return [255, 255, 255, 255]; };
  return [...document.querySelectorAll("body *")].filter(it => !it.closest("svg") && !it.closest(".skip") &&
      [...it.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && it.checkVisibility()
      && !["SCRIPT", "STYLE"].includes(it.tagName))
    .map(it => { const [a, b] = [bright(rgb(getComputedStyle(it).color)), bright(behind(it))].sort((x, y) => y - x);
      return [(a + .05) / (b + .05), it.tagName + " " + it.className + " " + it.textContent.trim().slice(0, 30)]; })
    .filter(([ratio]) => ratio < 4.5).map(([ratio, what]) => ratio.toFixed(2) + " " + what);
})()"""


def test_what_models_and_datasets_say_is_text_and_nothing_else(browser: Browser, demo: Demo, tmp_path: Path) -> None:
    own = demo.copied(tmp_path)
    own.say(HOSTILE)
    report = gather(own.plan, own.store)
    hostile = replace(
        report,
        family=HOSTILE,
        description=HOSTILE,
        version=HOSTILE,
        apply=HOSTILE,
        trainings=[replace(one, notes=[HOSTILE], variant=HOSTILE, adapter=HOSTILE) for one in report.trainings],
        datasets=[replace(one, name=HOSTILE, format=HOSTILE) for one in report.datasets],
        gates=[
            replace(p, metric=HOSTILE, rows=[replace(row, variant=HOSTILE) for row in p.rows]) for p in report.gates
        ],
        lineage=replace(report.lineage, nodes=[replace(node, name=HOSTILE) for node in report.lineage.nodes]),
    )
    file = tmp_path / "report.html"
    file.write_text(page(hostile))
    browser.open(file)
    assert browser.ask("document.title") != "owned"
    assert (browser.errors, browser.requests) == ([], [file.as_uri()])
    assert browser.ask("document.querySelectorAll('img').length") == 0
    assert browser.ask("document.querySelectorAll('script').length") == 1
    assert browser.ask("document.querySelector('h1').textContent").startswith("</pre></script>")
    assert browser.ask("document.querySelector('.answers pre').textContent.length") == len(HOSTILE)
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth") is True
