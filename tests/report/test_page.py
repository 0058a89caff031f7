"""The page as text: its policy, its size, and what it says where there is nothing to say."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

from variantforge.report import Report
from variantforge.report.document import Estimate
from variantforge.report.page import MOST_ROWS, fact, page, rough, short, signed, unmeasured, when

DIGEST = re.compile(r"(style|script)-src '(sha256-[^']+)'")


def test_style_and_script_are_those_that_the_policy_lets_in_and_nothing_else_is(told: Report) -> None:
    html = page(told)
    allowed = dict(DIGEST.findall(html.replace("&#39;", "'")))
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert allowed[tag] == f"sha256-{digest}"
    assert "default-src &#39;none&#39;" in html or "default-src 'none'" in html
    assert "unsafe" not in html
    assert " style=" not in html


def test_nothing_outside_is_named_as_a_source(told: Report) -> None:
    html = page(told)
    assert re.findall(r'(?:src|href|action|data)="(?!#)([^"]*)"', html) == ["data:,"]
    assert "@import" not in html
    assert "url(" not in html


def test_a_family_of_thousands_of_files_stays_a_page_that_opens(told: Report) -> None:
    cells = [replace(cell, variant=f"v{number}") for number in range(700) for cell in told.cells]
    gates = [replace(panel, rows=panel.rows * 700) for panel in told.gates]
    many = replace(told, cells=cells, gates=gates, suites=told.suites * 300, repos=told.repos * 500)
    html = page(replace(many, trainings=told.trainings * 300, mixes=told.mixes * 300, answers=told.answers * 300))
    assert len(html) < 4_000_000
    assert f"{len(cells) * 7 // 10 - MOST_ROWS:,} more are left out" in html
    panel = html[html.index("<b>heldout.kl</b>") : html.index('id="measured"')]
    assert panel.count("verdict v-fail") == MOST_ROWS  # what did not pass is not among those left out


def test_what_the_family_file_does_not_ask_for_is_not_called_missing(told: Report) -> None:
    html = page(replace(told, gates=[], suites=[], planned={}))
    assert "there are no &#39;gates&#39; in it" in html
    assert "there is no &#39;evaluate&#39; in it" in html
    html = page(replace(told, gates=[], suites=[]))
    assert "No gate has judged anything yet." in html


def test_only_what_is_still_to_be_measured_is_called_missing(told: Report) -> None:
    merged = next(cell for cell in told.cells if cell.subject == "merged")
    assert "heldout.kl" not in merged.metrics  # it is what others are compared with
    assert unmeasured(merged, "heldout.kl") == "–"
    assert unmeasured(replace(merged, awaited=["heldout"]), "heldout.kl") == "missing"
    assert unmeasured(replace(merged, awaited=["held"]), "heldout.kl") == "–"


def test_what_is_alike_in_every_file_is_said_in_a_sentence_and_not_drawn(told: Report) -> None:
    trade = told.trade_offs[0]
    flat = replace(trade, points=[replace(point, y=Estimate(0.25)) for point in trade.points])
    html = page(replace(told, trade_offs=[trade, flat]))
    section = html[html.index('id="trade-offs"') : html.index('id="gates"')]
    assert section.count("<figure") == 1
    assert f"{trade.metric} is 0.25 for every file of {trade.variant}: there is nothing to weigh." in section
    assert "for every file" not in page(told)


def test_speed_is_told_with_its_machine(told: Report) -> None:
    (fast, *_) = [suite for suite in told.suites if suite.evaluator == "speed" and suite.variant == "code"]
    runtimes = "runtime of base and runtime of merged and runtime of nf4"
    assert fast.machines == [f"A quick one, 4 cores; {runtimes}"]
    assert f"On one machine: A quick one, 4 cores; {runtimes}." in page(told)
    assert {suite.evaluator for suite in told.suites if suite.machines} == {"speed"}


def test_figures_read_as_people_write_them() -> None:
    assert (signed(0.5), signed(-0.02), signed(0.0)) == ("+0.5", "−0.02", "+0")
    assert [short(it) for it in (-0.0, -0.12345, 12345.6)] == ["0", "−0.123", "12,346"]
    assert [short(it) for it in (-4.61e-05, 1e-7, 3e-9)] == ["−0.0000461", "0.0000001", "3e−09"]
    assert [rough(it) for it in (0.0015812, -0.7349, 8.404, 149.2, 0.0)] == ["0.0016", "−0.73", "8.4", "149", "0"]
    assert when(0) == "1970-01-01 00:00 UTC"
    assert [fact(it) for it in (12345, 0.123456, "x", True, None, {"b": 1, "a": "ü"})] == [
        *("12,345", "0.1235", "x", "True", "None", '{"a": "ü", "b": 1}'),
    ]
