"""Gates in real runs of a tiny family: what is too small to tell, what the release before was, and measuring twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.incidents.plant import Family
from variantforge.errors import IntegrityError
from variantforge.run.inline import Inline
from variantforge.run.results import RunReport
from variantforge.run.runner import run_plan

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """The folder of a family that is trained, merged and measured."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(tiny_llama, folder / "base")
    run_plan(measured(folder).plan(), measured(folder).store, heavy=Inline)
    shutil.rmtree(folder / "published")
    return folder


def measured(folder: Path) -> Family:
    family = Family(folder, folder / "base")
    family.spec["evaluate"] = {"parity": "off", "heldout": {"evaluator": "perplexity", "fraction": 0.3}}
    return family


@pytest.fixture
def family(tmp_path: Path, trained: Path) -> Family:
    shutil.copytree(trained, tmp_path / "family")
    return measured(tmp_path / "family")


def judged(family: Family, *gates: dict[str, Any], version: str = "0.1.0") -> tuple[RunReport, list[dict[str, Any]]]:
    """The family with these gates, run; and the verdicts on its merged weights."""
    family.spec |= {"gates": list(gates), "version": version}
    plan = family.plan()
    report = run_plan(plan, family.store, heavy=Inline)
    keys = [key for place, key in plan.places.items() if place.stage == "gate" and place.name == "merged"]
    artifact = family.store.find(plan.steps[keys[0]])
    assert artifact is not None, report.results
    return report, artifact.facts["verdicts"]


def shipped(family: Family) -> bool:
    return any((family.folder / "published").glob("*/model.safetensors"))


def test_a_suite_too_small_for_its_margin(family: Family) -> None:
    """The figure lies within the bounds: neither proven nor refuted, and not shipped. A margin that it can prove is."""
    _, (first,) = judged(family, {"metric": "heldout.loss", "at_most": 50.0})
    assert shipped(family)
    shutil.rmtree(family.folder / "published")
    within = (first["value"] + first["high"]) / 2
    report, (verdict,) = judged(family, {"metric": "heldout.loss", "at_most": within})
    assert verdict["verdict"] == "not enough data"
    assert report.keys("refused")
    assert not shipped(family)
    report, (verdict,) = judged(family, {"metric": "heldout.loss", "at_most": first["high"] + 0.01})
    assert (verdict["verdict"], report.error) == ("pass", None)
    assert shipped(family)


def test_fewer_examples_than_a_method_needs_prove_nothing(family: Family) -> None:
    family.spec["evaluate"]["heldout"]["max_examples"] = 6
    _, (verdict,) = judged(family, {"metric": "heldout.loss", "at_most": 50.0})
    assert verdict["verdict"] == "not enough data"
    assert "at least 8 examples are needed" in verdict["why"]


GATE = {"metric": "heldout.loss", "vs": "previous", "worse_by_at_most": 0.001}


def test_a_release_is_compared_with_the_one_before_it_in_its_folder(family: Family) -> None:
    report, (first,) = judged(family, GATE)
    assert (report.error, first["verdict"]) == (None, "pass")
    assert "there is no previous release" in first["why"]
    kept = family.folder / "published/evaluations/0.1.0/one.heldout.merged.jsonl"
    assert json.loads(kept.read_text().splitlines()[0])["version"] == "0.1.0"

    report, (same,) = judged(family, GATE, version="0.2.0")
    assert (report.error, same["verdict"]) == (None, "pass")
    assert "worse than 0.1.0's" in same["why"] or "better than 0.1.0's" in same["why"]
    assert not judged(family, GATE, version="0.2.0")[0].keys("done")  # its own figures are not the ones before it

    better(family.folder / "published/evaluations/0.2.0/one.heldout.merged.jsonl")
    report, (worse,) = judged(family, GATE, version="0.3.0")
    assert worse["verdict"] == "fail"
    assert "worse than 0.2.0's" in worse["why"]
    assert not (family.folder / "published/evaluations/0.3.0").exists()

    family.spec["evaluate"]["heldout"]["max_examples"] = 12
    _, (other,) = judged(family, GATE, version="0.3.0")
    assert other["verdict"] == "not enough data"
    assert "release 0.2.0 was measured on other items (12 of 12 are the same)" in other["why"]


def better(path: Path) -> None:
    """As if that release had been better by half a nat."""
    head, *rows = [json.loads(line) for line in path.read_text().splitlines()]
    head["metrics"]["loss"] -= 0.5
    rows = [{**row, "nll": row["nll"] - 0.5 * row["tokens"]} for row in rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in (head, *rows)))


def test_figures_of_the_release_before_that_were_edited_are_refused(family: Family) -> None:
    judged(family, GATE)
    (kept,) = (family.folder / "published/evaluations/0.1.0").iterdir()
    kept.write_text("{}")
    family.spec |= {"version": "0.2.0"}
    report = run_plan(family.plan(), family.store, heavy=Inline)
    assert isinstance(report.error, IntegrityError)


def test_a_margin_within_the_noise_of_measuring_is_not_enough_data(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second measurement is the same file in other batches; here it is made to differ, as some machines do."""
    from variantforge.stages.evaluate import stage
    from variantforge.stages.evaluate.again import batch_limit
    from variantforge.stages.evaluate.evaluation import Measured

    gate = {"metric": "heldout.loss", "vs": "base", "worse_by_at_most": 0.05, "noise_floor": True}
    report, (quiet,) = judged(family, gate)
    assert (report.error, quiet["verdict"]) == (None, "pass")

    measure = stage._measure

    def noisy(evaluator: Any, context: Any) -> Measured:
        found = measure(evaluator, context)
        if batch_limit(300) == 300:
            return found
        rows = [{**row, "nll": row["nll"] + 0.04 * row["tokens"]} for row in found.examples]
        return Measured(rows, found.facts, found.metrics)

    monkeypatch.setattr(stage, "_measure", noisy)
    for stage_after_merging in ("evaluate", "gate", "card", "publish"):
        shutil.rmtree(family.folder / "store" / stage_after_merging)
    _, (loud,) = judged(family, gate)
    assert loud["verdict"] == "not enough data"
    assert "measured twice, the same file differs by 0.04: the margin must be twice that" in loud["why"]
