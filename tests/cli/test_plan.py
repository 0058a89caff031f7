"""``vf plan``: what is told of each step, to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.toys import Toy, family_text

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
Golden = Callable[[Path, str], None]


def test_a_first_plan_runs_everything(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    ended = vf("plan")
    golden(GOLDEN / "plan-first.txt", ended.out)
    assert (ended.code, ended.err) == (0, "")


def test_a_changed_learning_rate_names_itself_and_collapses_the_rest(
    vf: Vf, toys: dict[str, Toy], golden: Golden, tmp_path: Path
) -> None:
    assert vf("apply").code == 0
    (tmp_path / "family.yaml").write_text(family_text("2.0e-4"))
    golden(GOLDEN / "plan-changed.txt", vf("plan").out)
    golden(GOLDEN / "plan-changed-all.txt", vf("plan", "--all").out)


def test_nothing_to_do_is_one_line_per_group(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    vf("apply")
    golden(GOLDEN / "plan-nothing.txt", vf("plan").out)


def test_what_a_gate_refused_blocks_its_dependents(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    toys["gate"].refusals["gate code nf4"] = "fail: heldout.loss 3.1 is 0.3 worse than base's 2.8"
    assert vf("apply").code == 3
    golden(GOLDEN / "plan-blocked.txt", vf("plan").out)


def test_the_detailed_exit_code_tells_changes_from_none(vf: Vf, toys: dict[str, Toy]) -> None:
    assert vf("plan", "--detailed-exitcode").code == 10
    vf("apply")
    assert vf("plan", "--detailed-exitcode").code == 0


def test_json_holds_the_same_plan(vf: Vf, toys: dict[str, Toy]) -> None:
    vf("apply", "--only", "law")
    ended = vf("plan", "--json")
    plan = json.loads(ended.out)
    assert ended.err == ""
    assert plan["summary"] == {"steps": 19, "reuse": 9, "run": 10, "blocked": 0}
    assert plan["family"] == "toy"
    train = next(step for step in plan["steps"] if step["label"] == "train code")
    assert train["decision"] == "run"
    assert train["places"] == [{"stage": "train", "variant": "code", "name": ""}]


def test_until_and_only_choose_steps_and_stay_in_the_next_command(vf: Vf, toys: dict[str, Toy]) -> None:
    ended = vf("plan", "family.yaml", "--until", "merge", "--only", "law", "--all", "--detailed-exitcode")
    assert "4 steps: 0 reuse, 4 run, 0 blocked" in ended.out
    assert ended.out.endswith("next: vf apply family.yaml --until merge --only law\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--only", "cod"), "Did you mean 'code'?"),
        (("--until", "megre"), "Did you mean 'merge'?"),
    ],
)
def test_a_name_that_is_not_there_is_answered_with_a_near_one(
    vf: Vf, toys: dict[str, Toy], words: tuple[str, str], told: str
) -> None:
    ended = vf("plan", *words)
    assert ended.code == 2
    assert told in ended.err


def test_the_store_may_be_elsewhere(vf: Vf, toys: dict[str, Toy], tmp_path: Path, monkeypatch) -> None:
    vf("apply", "--store", "kept")
    assert "19 reuse" in vf("plan", "--store", tmp_path / "kept").out
    monkeypatch.setenv("VARIANTFORGE_STORE", str(tmp_path / "kept"))
    assert "19 reuse" in vf("plan").out
    monkeypatch.delenv("VARIANTFORGE_STORE")
    assert "0 reuse" in vf("plan").out


def test_a_file_where_the_store_should_be_is_told(vf: Vf, toys: dict[str, Toy], tmp_path: Path) -> None:
    (tmp_path / ".variantforge").write_text("")
    ended = vf("plan")
    assert ended.code == 2
    assert ".variantforge is a file, not a folder for results" in ended.err


def test_a_missing_file_names_what_could_be_meant(vf: Vf, tmp_path: Path) -> None:
    ended = vf("plan")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: there is no family.yaml\nnext: vf init   # writes one to start from\n"
    (tmp_path / "qwen.yaml").write_text("family: x\n")
    assert vf("plan").err.endswith("next: vf plan qwen.yaml\n")


def test_a_folder_means_its_family_file(vf: Vf, toys: dict[str, Toy], tmp_path: Path) -> None:
    assert "19 run" in vf("plan", tmp_path).out
    (tmp_path / "family.yaml").rename(tmp_path / "other.yaml")
    assert vf("plan", tmp_path).err.startswith(f"error: there is no {tmp_path}/family.yaml\n")
