"""``vf apply``: what is told at the end, and the code it ends with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.toys import Toy
from variantforge.errors import DataError, IntegrityError, Interrupted, OutOfSpace, VariantforgeError
from variantforge.run.schedule import Schedule
from variantforge.step import Step
from variantforge.store.artifacts import Store

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
Golden = Callable[[Path, str], None]
REFUSAL = "fail: heldout.loss 3.1 is 0.3 worse than base's 2.8"


def without_times(text: str) -> str:
    return re.sub(r"\d+(\.\d+)? (s|min)\b", "TIME", text)


def test_everything_is_done_and_told_where_it_lies(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    ended = vf("apply")
    assert ended.code == 0
    golden(GOLDEN / "apply-done.txt", without_times(ended.out))
    golden(GOLDEN / "apply-done-progress.txt", without_times(ended.err))


def test_a_second_apply_does_nothing_and_says_so(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    vf("apply")
    ended = vf("apply")
    assert (ended.code, ended.err) == (0, "")
    golden(GOLDEN / "apply-nothing.txt", ended.out)


def test_a_refusal_by_a_gate_holds_back_what_hangs_on_it(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    toys["gate"].refusals["gate code nf4"] = REFUSAL
    ended = vf("apply", "family.yaml")
    assert ended.code == 3
    golden(GOLDEN / "apply-refused.txt", without_times(ended.out))
    assert ended.err.endswith(
        f"error: a gate did not pass\n  {REFUSAL}\nnext: vf show   # what was measured, and what was demanded\n"
    )


def test_a_failure_stops_its_dependents_and_ends_in_a_command(vf: Vf, toys: dict[str, Toy], golden: Golden) -> None:
    toys["merge"].failures["merge law"] = DataError("the weights of layer 3 differ", why="by 0.5")
    ended = vf("apply", "--until", "quantize")
    assert ended.code == 1
    golden(GOLDEN / "apply-failed.txt", without_times(ended.out))
    assert ended.err.endswith("error: the weights of layer 3 differ\n  by 0.5\nnext: vf apply --until quantize\n")


def test_the_error_s_own_advice_is_kept(vf: Vf, toys: dict[str, Toy]) -> None:
    toys["data"].failures["data law mix"] = DataError("rows.jsonl:3 is not JSON", next="correct line 3")
    assert vf("apply").err.endswith("next: correct line 3\n")


def test_how_many_steps_are_at_work_at_once_is_the_user_s_to_say(
    vf: Vf, toys: dict[str, Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    most = set()

    class Watched(Schedule):
        def admits(self, step: Step, at_work: Collection[str]) -> bool:
            most.add(self.most)
            return super().admits(step, at_work)

    monkeypatch.setattr("variantforge.run.runner.Schedule", Watched)
    assert vf("apply", "--parallel", "3").code == 0
    assert most == {3}
    assert vf("apply", "--parallel", "0").code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Interrupted("stopped"), 5),
        (IntegrityError("damaged"), 6),
        (OutOfSpace("no space left"), 7),
        (DataError("x"), 1),
    ],
)
def test_the_exit_code_tells_how_it_ended(vf: Vf, toys: dict[str, Toy], error: VariantforgeError, code: int) -> None:
    toys["train"].failures["train code"] = error
    assert vf("apply").code == code


def test_after_an_interruption_the_same_command_goes_on(vf: Vf, toys: dict[str, Toy]) -> None:
    toys["train"].failures["train code"] = Interrupted("stopped before the step was done")
    ended = vf("apply", "--only", "code")
    assert "1 interrupted" in ended.out
    assert "failed" not in ended.out
    assert ended.err.endswith("next: vf apply --only code\n")
    toys["train"].failures.clear()
    again = vf("apply", "--only", "code")
    assert again.code == 0
    assert "2 reused" in again.out


def test_of_what_was_not_begun_only_the_first_steps_are_listed(vf: Vf, toys: dict[str, Toy]) -> None:
    toys["train"].failures["train code"] = Interrupted("stopped before the step was done")
    listed = vf("apply").out.partition("\nnot run\n")[2].splitlines()
    assert len(listed) == 13
    assert re.fullmatch(r"  … and \d+ more", listed[-1])


def test_a_store_at_work_is_told_with_its_holder(vf: Vf, toys: dict[str, Toy], tmp_path: Path) -> None:
    with Store(tmp_path / ".variantforge").locked("vf apply other.yaml"):
        ended = vf("apply")
    assert ended.code == 8
    assert "vf apply other.yaml" in ended.err


def test_json_is_one_document_also_when_it_failed(vf: Vf, toys: dict[str, Toy]) -> None:
    toys["gate"].refusals["gate code nf4"] = REFUSAL
    ended = vf("apply", "--json")
    report = json.loads(ended.out)
    assert ended.code == report["error"]["exit_code"] == 3
    assert report["summary"] == {
        "done": 15,
        "reused": 0,
        "refused": 1,
        "stopped": 1,
        "failed": 0,
        "interrupted": 0,
        "not_run": 2,
    }
    assert {"form": "law nf4", "at": "published/toy-law-nf4"} in report["published"]
    refused = next(step for step in report["steps"] if step["outcome"] == "refused")
    assert (refused["label"], refused["message"]) == ("gate code nf4", REFUSAL)
    assert "error: a gate did not pass" in ended.err


def test_colours_are_whole_where_there_are_any(vf: Vf, toys: dict[str, Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    vf("apply", "--only", "law")
    ended = vf("apply")
    assert "\x1b[32m10 done,\x1b[0m \x1b[2m9 reused\x1b[0m\n" in ended.out
    for text in (ended.out, ended.err, vf("plan").out, vf("show").out, vf("doctor").out):
        assert not re.search(r"(?<!\x1b)\[\d+m", text)
