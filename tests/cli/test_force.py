"""``vf apply --force REASON``: it ships, once somebody said why, and nobody is left without knowing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.test_release import CODE, INDEX, LAW, Laid, described, family
from tests.cli.toys import NAMES, Toy
from tests.localhub import LocalHub
from variantforge.plan.build import Draft
from variantforge.spec.family import VariantSpec
from variantforge.stages import STAGES
from variantforge.stages.gate.stage import unforced
from variantforge.stages.stage import Desk, Place
from variantforge.step import StepContext

REFUSAL = "fail: heldout.loss 2.9 is 0.1 worse than base's 2.8"
REASON = "a regression on held-out rows is accepted for 1.0.0"


class Judge(Toy):
    """A gate that can be overridden, as the real one."""

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        super().plan(desk, name, variant)
        step = desk.step(Place("gate", name, NAMES["gate"])) if name else None
        if step and (reason := desk.forced(step.key)):
            assert isinstance(desk, Draft)
            del desk.steps[step.key]
            desk.add(Place("gate", name, NAMES["gate"]), replace(step, params={**step.params, "forced": reason}))

    def do(self, context: StepContext) -> None:
        reason, refusal = context.step.params.get("forced"), self.refusals.get(context.label, "")
        told = {"reason": reason, "refusal": refusal, "gate": unforced(context.step).key}
        facts = {"forced": told} if reason else {"refusal": refusal}
        context.write_facts({"verdicts": [], **facts})


@pytest.fixture
def refusing(toys: dict[str, Toy], monkeypatch: pytest.MonkeyPatch) -> Judge:
    judge = Judge("gate")
    judge.refusals["gate code nf4"] = REFUSAL
    monkeypatch.setitem(STAGES._loaded, "gate", judge)
    return judge


class Telling(Laid):
    """Publishing whose variantforge.json says what shipped by force, and by which step it was laid out."""

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        super().plan(desk, name, variant)
        place = Place("publish", None, "family")
        if name is None and (step := desk.step(place)):
            assert isinstance(desk, Draft)
            del desk.steps[step.key]
            desk.add(place, replace(step, params={**step.params, "collection": None}))

    def do(self, context: StepContext) -> None:
        super().do(context)
        step, file = context.step, context.out / "repo" / "variantforge.json"
        gates = json.loads(Path(".variantforge/forced.json").read_text())["toy"] if step.params["repo"] == CODE else ()
        told = {"nf4": {"reason": REASON, "gate": next(iter(gates))}} if gates else {}
        recipe = {"version": step.version, "method": step.method, "params": dict(step.params)}
        said = {"variant": step.params.get("variant"), "form": "nf4", "step": step.key, "made_from": dict(step.inputs)}
        manifest = json.loads(file.read_text()) | said | {"recipe": recipe, "forced": told}
        file.write_text(json.dumps(manifest))
        facts = json.loads((context.out / "facts.json").read_text())
        facts["files"]["variantforge.json"] = described(file)
        context.write_facts(facts)


@pytest.mark.parametrize("reason", ["", "  "])
def test_without_a_reason_nothing_is_forced_and_nothing_is_run(vf: Vf, refusing: Judge, reason: str) -> None:
    ended = vf("apply", "--force", reason)
    assert (ended.code, ended.out) == (2, "")
    assert "--force wants a reason" in ended.err


def test_what_is_refused_ships_with_the_reason_told(vf: Vf, refusing: Judge) -> None:
    assert vf("apply").code == 3
    assert not Path("published/toy-code-nf4").exists()
    ended = vf("apply", "--force", REASON)
    assert ended.code == 0, ended.err
    assert "forced: ships although a gate refused it\n" in ended.out
    assert f"gate code nf4  {REASON}\n" in ended.out
    assert "published/toy-code-nf4" in ended.out


def test_it_is_told_by_every_plan_and_apply_that_follows_and_costs_nothing_more(vf: Vf, refusing: Judge) -> None:
    vf("apply", "--force", REASON)
    for command in (("plan",), ("plan",), ("plan", "--markdown"), ("apply",)):
        ended = vf(*command)
        assert ended.code == 0
        assert REASON in ended.out
        assert not any(word in ended.out for word in (" 1 run", "refused by a gate"))
    told = json.loads(vf("plan", "--json").out)["forced"]
    assert [(one["gate"], one["reason"]) for one in told] == [("gate code nf4", REASON)]
    assert json.loads(vf("apply", "--json").out)["forced"] == told


def test_the_journal_holds_the_reason_and_what_was_refused(vf: Vf, refusing: Judge) -> None:
    vf("apply", "--force", REASON)
    with closing(sqlite3.connect(".variantforge/journal.sqlite")) as journal:
        rows = journal.execute(
            "SELECT outcome, message FROM steps WHERE label = 'gate code nf4' ORDER BY rowid"
        ).fetchall()
    assert rows == [("refused", REFUSAL), ("done", f"forced: {REASON} (refused: {REFUSAL})")]
    known = json.loads(Path(".variantforge/forced.json").read_text())["toy"]
    assert [(one["gate"], one["reason"]) for one in known.values()] == [("gate code nf4", REASON)]


def test_other_bytes_are_refused_again(vf: Vf, refusing: Judge) -> None:
    vf("apply", "--force", REASON)
    text = Path("family.yaml").read_text()
    Path("family.yaml").write_text(text.replace("1.0e-4", "2.0e-4"))
    ended = vf("apply")
    assert ended.code == 3
    assert REFUSAL in ended.err


def test_where_every_gate_passes_it_does_nothing_and_says_so(vf: Vf, toys: dict[str, Toy]) -> None:
    ended = vf("apply", "--force", REASON)
    assert ended.code == 0
    assert "--force was not needed: every gate passed" in ended.err
    assert not Path(".variantforge/forced.json").exists()


def test_another_failure_is_not_forced(vf: Vf, refusing: Judge, toys: dict[str, Toy]) -> None:
    toys["merge"].failures["merge law"] = OSError("a disk that is gone")
    ended = vf("apply", "--force", REASON)
    assert ended.code == 1
    assert not Path(".variantforge/forced.json").exists()


def test_a_damaged_memory_of_reasons_is_told(vf: Vf, refusing: Judge) -> None:
    vf("apply", "--force", REASON)
    for text in ("{", '{"toy": []}', '{"toy": {"key": {"reason": 3}}}'):
        Path(".variantforge/forced.json").write_text(text)
        ended = vf("apply")
        assert ended.code == 6
        assert "forced.json is damaged" in ended.err


def test_a_family_on_the_hub_is_released_with_what_was_forced(
    vf: Vf, refusing: Judge, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(STAGES._loaded, "publish", Laid("publish"))
    for name, value in hub.env(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    family()
    assert vf("apply", "--yes").code == 3
    assert hub.writes == []
    ended = vf("apply", "--yes", "--force", REASON)
    assert ended.code == 0, ended.err
    assert REASON in ended.out
    assert json.loads(hub.read(INDEX, "release.json"))["repos"].keys() == {CODE, LAW}
    written = len(hub.writes)
    again = vf("apply", "--yes")
    assert (again.code, len(hub.writes)) == (0, written)
    assert REASON in again.out


# --- another machine --------------------------------------------------------------------------------------------------

GATED = "evaluate: {heldout: {evaluator: perplexity}}\ngates: [{metric: heldout.loss, vs: base, better_by: 0.0}]\n"


def published_by_force(vf: Vf, **told: object) -> None:
    """A folder that says what shipped by force, and a store that never heard of it."""
    Path("family.yaml").write_text(Path("family.yaml").read_text() + GATED)
    assert vf("apply", "--force", REASON).code == 0
    (key,) = json.loads(Path(".variantforge/forced.json").read_text())["toy"]
    forced = {"nf4": {"reason": REASON, "refusal": REFUSAL, "gate": key}}
    manifest = {"made_by": "variantforge", "family": "toy", "forced": forced, **told}
    Path("published/toy-code-nf4").mkdir(parents=True)
    Path("published/toy-code-nf4/variantforge.json").write_text(json.dumps(manifest))
    shutil.rmtree(".variantforge")


def test_a_folder_tells_another_store_what_shipped_by_force(vf: Vf, refusing: Judge) -> None:
    published_by_force(vf)
    assert REASON in vf("plan").out
    ended = vf("apply")
    assert ended.code == 0, ended.err
    assert f"gate code nf4  {REASON}\n" in ended.out
    assert REASON in vf("plan").out  # remembered or not
    Path("published/toy-code-nf4/variantforge.json").unlink()
    assert vf("plan").out.count(REASON) == 0


def test_a_reason_for_another_gate_lets_nothing_through(vf: Vf, refusing: Judge) -> None:
    published_by_force(vf, forced={"nf4": {"reason": REASON, "gate": "ab" * 16}})
    ended = vf("apply")
    assert ended.code == 3, ended.out
    assert REFUSAL in ended.err


def test_an_import_takes_up_what_shipped_by_force_and_a_plan_before_it_says_so(
    vf: Vf, refusing: Judge, hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(STAGES._loaded, "publish", Telling("publish"))
    for name, value in hub.env(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    family()
    ended = vf("apply", "--yes", "--force", REASON)
    assert ended.code == 0, ended.err
    shutil.rmtree(".variantforge")
    planned = vf("plan")
    assert f"forced there: {CODE} shipped although a gate refused it: {REASON}" in planned.out
    assert "vf import" in planned.out
    imported = vf("import", "--yes")
    assert imported.code == 0, imported.err
    assert f"forced: gate code nf4 ships although it refused: {REASON}" in imported.out
    after = vf("plan")
    assert REASON in after.out
    assert "forced there" not in after.out
