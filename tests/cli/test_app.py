"""The command line itself: help, errors as letters, exit codes, and how little it imports."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.toys import Toy
from variantforge import errors
from variantforge.cli.app import COMMANDS

HELP = Path(__file__).parents[1] / "golden" / "help"
HEAVY = {"torch", "transformers", "datasets", "huggingface_hub", "numpy", "rich", "pyarrow", "peft", "trl", "gguf"}
Golden = Callable[[Path, str], None]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(vf: Vf, golden: Golden, command: str) -> None:
    ended = vf(command, "--help")
    golden(HELP / f"{command}.txt", ended.out)
    assert ended.code == 0
    assert f"\n    vf {command}" in ended.out


def test_the_program_lists_its_commands(vf: Vf, golden: Golden) -> None:
    ended = vf("--help")
    golden(HELP / "vf.txt", ended.out)
    assert ended.code == 0


def test_every_module_that_holds_a_command_is_listed() -> None:
    folder = Path(inspect.getfile(sys.modules["variantforge.cli.app"])).parent
    found = {path.stem.removesuffix("_") for path in folder.glob("*.py") if "@app.command" in path.read_text()}
    assert found == set(COMMANDS)


def test_a_bare_program_shows_its_help_and_fails(vf: Vf) -> None:
    ended = vf()
    assert (ended.code, ended.out) == (2, "")
    assert "Commands:" in ended.err


def test_the_version_is_told(vf: Vf) -> None:
    assert vf("--version") == (0, "variantforge 0.1.0\n", "")


def test_an_unknown_command_is_answered_with_a_near_one(vf: Vf) -> None:
    assert vf("plna") == (2, "", "error: no command 'plna'. Did you mean 'plan'?\nnext: vf --help\n")


@pytest.mark.parametrize(
    ("words", "told", "next"),
    [
        (("plan", "--al"), "--al", "vf plan --help"),
        (("plan", "a", "b"), "unexpected", "vf plan --help"),
        (("show", "--store"), "requires an argument", "vf show --help"),
        (("--nonsense",), "--nonsense", "vf --help"),
    ],
)
def test_a_wrong_command_line_is_answered_with_a_letter(vf: Vf, words: tuple[str, ...], told: str, next: str) -> None:
    ended = vf(*words)
    assert (ended.code, ended.out) == (2, "")
    first, last = ended.err.splitlines()
    assert first.startswith("error: ")
    assert told in first
    assert last == f"next: {next}"


def test_errors_are_json_where_json_was_asked_for(vf: Vf) -> None:
    ended = vf("plan", "gone.yaml", "--json")
    error = json.loads(ended.out)["error"]
    assert error["kind"] == "UsageError"
    assert error["what"] == "there is no gone.yaml"
    assert error["exit_code"] == ended.code == 2
    assert ended.err.startswith("error: there is no gone.yaml\n")


def test_all_problems_of_a_file_are_told_and_counted(vf: Vf, tmp_path: Path) -> None:
    (tmp_path / "family.yaml").write_text("family: x\nbase: {modle: ./b}\nvariants: {}\n")
    ended = vf("check", "--json")
    problems = json.loads(ended.out)["error"]["problems"]
    assert len(problems) >= 2
    assert all(set(problem) == {"where", "key", "text"} for problem in problems)
    lines = ended.err.splitlines()
    assert lines[0].startswith("family.yaml:")
    assert f"error: {len(problems)} problems found; nothing was run." in lines
    assert ended.code == 2


def test_every_kind_of_error_ends_with_its_own_code(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]
    assert len(kinds) > 20
    for kind in kinds:
        argument = [errors.Problem("f:1:1", "k", "t")] if kind is errors.SpecError else "it went wrong"
        monkeypatch.setattr("variantforge.cli.opening.family_file", raising(kind(argument)))
        ended = vf("check")
        assert ended.code == kind.exit_code
        assert "error: " in ended.err


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail


def test_an_unexpected_failure_is_a_letter_without_a_trace(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("variantforge.cli.opening.family_file", raising(ZeroDivisionError("division by zero")))
    ended = vf("check")
    assert ended.code == 1
    assert ended.err.startswith("error: ZeroDivisionError: division by zero\n  Nobody expected this failure (at ")
    assert "Traceback" not in ended.err
    assert "next: VARIANTFORGE_TRACEBACK=1 vf check" in ended.err
    monkeypatch.setenv("VARIANTFORGE_TRACEBACK", "1")
    assert "Traceback" in vf("check").err


def test_a_failure_of_the_system_names_the_file(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "variantforge.cli.opening.family_file", raising(PermissionError(13, "Permission denied", "f.yaml"))
    )
    assert vf("check").err == "error: f.yaml: Permission denied\nnext: ls -ld .; then vf check\n"


@pytest.mark.parametrize("words", [("init",), ("schema", "--write")])
def test_a_place_that_can_hold_no_file_is_told(vf: Vf, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("")
    folder, beneath = vf(*words, "."), vf(*words, "file/deeper/x.yaml")
    assert folder.code == beneath.code == 2
    assert folder.err.startswith("error: . is a folder\nnext: name the file to write: vf ")
    assert beneath.err.startswith("error: file is a file, not a folder\nnext: choose another place")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_too_long_for_the_disk_is_told_as_it_was_typed(vf: Vf) -> None:
    name = "x" * 300
    assert vf("schema", "--write", name).err.startswith(f"error: {name}: File name too long\nnext: ")


def test_init_over_a_file_offers_a_name_beside_it(vf: Vf, tmp_path: Path) -> None:
    assert vf("init", "families/a.yaml").code == 0
    assert vf("init", "families/a.yaml").err.endswith("next: vf init families/a-2.yaml\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--until", "trian"), "no stage 'trian'. Did you mean 'train'?"),
        (("--only", "b"), "no variant 'b'. There are: code, law."),
    ],
)
def test_a_name_that_the_plan_does_not_have_is_answered_with_those_it_has(
    vf: Vf, toys: dict[str, Toy], words: tuple[str, str], told: str
) -> None:
    ended = vf("plan", *words)
    assert ended.code == 2
    assert f"error: {told}" in ended.err
    assert ended.err.endswith("next: vf plan --help\n")


def test_ctrl_c_ends_with_5_and_the_command_to_go_on(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("variantforge.cli.opening.family_file", raising(KeyboardInterrupt()))
    ended = vf("check")
    assert ended.code == 5
    assert ended.err == "error: stopped\nnext: vf check   # goes on from here\n"


def test_the_suggested_commands_carry_the_name_that_was_typed(vf: Vf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/variantforge"])
    assert "next: variantforge init" in vf("plan").err


def test_a_reader_that_goes_away_ends_the_talking_only(tmp_path: Path) -> None:
    script = f"{sys.executable} -m variantforge schema; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({script}) | true"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stderr == "0\n"


def test_completion_offers_commands_options_and_variants(toys: dict[str, Toy], vf: Vf, tmp_path: Path) -> None:
    def completed(line: str) -> str:
        asked = {"_VF_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
        script = "import sys; sys.argv = ['vf']; from variantforge.cli.app import main; sys.exit(main([]))"
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **asked},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.stdout

    assert completed("vf pl").split() == ["plan"]
    assert "--detailed-exitcode" in completed("vf plan --d")
    assert completed("vf plan --until me").split() == ["merge"]
    assert completed("vf plan --only c").split() == ["code"]


@pytest.mark.parametrize(
    "words", [["--help"], ["plan", "--help"], ["check"], ["plan"], ["show"], ["schema"], ["init", "new.yaml"]]
)
def test_commands_that_only_look_import_nothing_heavy(vf: Vf, tmp_path: Path, words: list[str]) -> None:
    vf("init")
    script = (
        f"import sys; from variantforge.cli.app import main; code = main({words!r}); "
        f"print(code, sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == "0 []\n"
