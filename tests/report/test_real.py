"""A report of a family that was really trained, quantized, measured and judged; and two of its files asked anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.family import write_family
from tests.report.browser import Browser
from variantforge.cli.app import main


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_family_that_was_really_made_is_told_whole(
    tiny_llama: Path,
    tmp_path: Path,
    browser: Browser,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_family(tmp_path, tiny_llama)
    main(["apply"])
    capsys.readouterr()
    assert main(["report"]) == 0
    assert "next:" not in capsys.readouterr().out
    browser.open(tmp_path / "report.html")
    assert (browser.errors, len(browser.requests)) == ([], 1)
    assert browser.ask("document.querySelectorAll('.absent').length") <= 1  # answers, where nothing lets models write
    assert browser.ask("document.querySelectorAll('#training svg.chart').length") == 2
    assert browser.ask("document.querySelectorAll('#files .verdict').length") > 8

    assert main(["report", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["missing"] == []
    assert {suite["variant"] for suite in told["suites"]} == {"lora", "qlora"}
    assert all(row["margin"] == 0 for panel in told["gates"] for row in panel["rows"] if panel["vs"] == "base")

    asked = ["compare", "lora/Q8_0", "lora", "--prompt", "Which colour has thing number 3?", "--max-new-tokens", "8"]
    assert main([*asked, "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)["asked"]
    assert [(pair["prompt"], bool(pair["first"]), bool(pair["second"])) for pair in pairs] == [
        ("Which colour has thing number 3?", True, True)
    ]
