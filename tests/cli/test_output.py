"""How words reach people: colour, width, and what never reaches a terminal."""

from __future__ import annotations

import io

import pytest

from variantforge.cli.output import Output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called in the test itself: pytest puts its own stdout in place after fixtures were set up."""
    screen = Terminal()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return screen


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = a_terminal(monkeypatch)
    Output().line(("failed", "failed"), "step")
    assert terminal.getvalue() == "\x1b[31mfailed\x1b[0m step\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_can_be_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    terminal = a_terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    Output().line(("failed", "failed"))
    assert terminal.getvalue() == "failed\n"


def test_colour_can_be_forced_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    Output().line(("ok", "ok"))
    assert capsys.readouterr().out == "\x1b[32mok\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    Output().line(("ok", "ok"))
    assert capsys.readouterr().out == "ok\n"


def test_a_table_wraps_its_last_column_under_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    Output().table([("run", "train", "learning_rate: 0.0001 → 0.0002; r: 8 → 16"), ("reuse", "merge", "")])
    assert capsys.readouterr().out == (
        "  run    train  learning_rate: 0.0001 →\n"
        "                0.0002; r: 8 → 16\n"
        "  reuse  merge\n"
    )  # fmt: skip


def test_nothing_is_wrapped_where_no_width_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    Output().table([("a", "word " * 100)])
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_numbers_stand_right(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table([("base", "10.0 MB", "x"), ("gate", "418 B", "y")], right=(1,))
    assert capsys.readouterr().out == "  base  10.0 MB  x\n  gate    418 B  y\n"


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output().line("a\x1b]0;owned\x07b\x9bc\rd")
    Output().note("e\x1b[2Jf")
    assert capsys.readouterr() == ("a]0;ownedbcd\n", "e[2Jf\n")


def test_lines_are_silent_when_json_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(["plan", "--json"])
    out.line("for people")
    out.json({"for": "programs"})
    assert capsys.readouterr().out == '{\n  "for": "programs"\n}\n'


def test_suggested_commands_can_be_pasted() -> None:
    assert Output(["plan", "my family.yaml"]).same_command == "vf plan 'my family.yaml'"
