"""A suite as a sheet: metrics downwards, files across."""

from __future__ import annotations

from variantforge.report import Report
from variantforge.report.document import Estimate, Measurement, Suite
from variantforge.report.page import page
from variantforge.report.sheet import sheet_of


def measured(metric: str, subject: str, n: int | None, **gains: Estimate) -> Measurement:
    return Measurement(f"python.v1.{metric}", subject, "higher", Estimate(0.5, n=n), gains)


def suite(*rows: Measurement) -> Suite:
    return Suite("python.v1", "code", "code", list(rows), {})


def test_each_metric_is_a_line_and_files_stand_in_the_order_of_the_family() -> None:
    gain = Estimate(0.1, 0.0, 0.2, 12)
    rows = [measured("kl", "nf4", 7), *(measured("pass@1", of, 12) for of in ("base", "merged"))]
    sheet = sheet_of(suite(*rows, measured("pass@1", "nf4", 9, base=gain, merged=gain)))
    assert sheet.files == ["base", "merged", "nf4"]  # the first metric knows only the last of them
    assert [(line.short, line.n, list(line.of)) for line in sheet.lines] == [
        ("kl", "7", ["nf4"]),
        ("pass@1", "9 to 12", ["base", "merged", "nf4"]),
    ]
    assert [row.subject for row in sheet.compared] == ["nf4"]
    assert sheet.over == ["base", "merged"]


def test_without_pairs_and_counts_nothing_is_said_of_them() -> None:
    sheet = sheet_of(suite(measured("pass@1", "base", None)))
    assert (sheet.compared, sheet.over, sheet.lines[0].n) == ([], [], "")


def test_the_page_shows_every_figure_of_every_file_once(told: Report) -> None:
    html = page(told)
    section = html[html.index('id="measured"') : html.index('id="answers"')]
    rows = [row for suite in told.suites for row in suite.rows]
    sheets = section.split('class="tight sheet"')[1:]
    assert len(sheets) == len(told.suites)
    shown = sum(sheet.split("</table>")[0].count('<td class="num">') for sheet in sheets)
    lines = [line for suite in told.suites for line in sheet_of(suite).lines]
    left_blank = sum(len(sheet_of(suite).files) * len(sheet_of(suite).lines) - len(suite.rows) for suite in told.suites)
    assert shown == len(rows) + left_blank + len(lines)  # and a count for each line
    assert section.count("By how much a file is better") == sum(bool(sheet_of(suite).compared) for suite in told.suites)
