"""Against the release before: found where it was published, compared item by item, and told where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import do_step
from tests.stages.gate.test_gate import measured, spread
from variantforge.errors import IntegrityError
from variantforge.hashing import file_digest
from variantforge.plan.previous import released_in
from variantforge.stages.gate.outcomes import outcomes_file, outcomes_text, read_outcomes
from variantforge.stages.gate.stage import STAGE
from variantforge.step import Artifact, Pin, Step

DEMAND = {"metric": "heldout.loss", "vs": "previous", "worse_by_at_most": 0.05, "evaluator": "perplexity"}
TOLD = {"family": "tiny", "version": "1.0.0", "variant": "code", "evaluation": "heldout", "subject": "nf4"}


def judge(root: Path, subject: Artifact, before: Path | None, version: str = "1.0.0") -> dict[str, Any]:
    pins = {"heldout:previous": Pin(file_digest(before), str(before))} if before else {}
    params = {"demands": [DEMAND], **({"previous": version} if version else {})}
    step = Step("gate", 2, "bounds", params, {"heldout:subject": subject.key}, pins)
    (verdict,) = do_step(STAGE, step, root / f"out{len(list(root.iterdir()))}", {"heldout:subject": subject}).facts[
        "verdicts"
    ]
    found: dict[str, Any] = verdict
    return found


def published(root: Path, nlls: list[float], **more: Any) -> Path:
    path = root / "before.jsonl"
    path.write_text(outcomes_text(measured(root, "before", nlls, **more), TOLD))
    return path


def test_a_first_release_has_nothing_to_be_worse_than(tmp_path: Path) -> None:
    verdict = judge(tmp_path, measured(tmp_path, "now", spread(1.2)), None, version="")
    assert (verdict["verdict"], verdict["value"], verdict["n"]) == ("pass", None, 20)
    assert verdict["why"] == "heldout.loss is 1.2; demanded: worse by at most 0.05; there is no previous release"


@pytest.mark.parametrize(("loss", "outcome"), [(1.52, "pass"), (1.6, "fail")])
def test_it_is_compared_item_by_item_with_what_was_published(tmp_path: Path, loss: float, outcome: str) -> None:
    before = published(tmp_path, spread(1.5))
    verdict = judge(tmp_path, measured(tmp_path, "now", spread(loss)), before)
    assert verdict["verdict"] == outcome
    assert f"worse than 1.0.0's 1.5 (95 % bounds {1.5 - loss:.4g} to {1.5 - loss:.4g}, 20 examples)" in verdict["why"]


def test_a_release_that_did_not_measure_it_is_nothing_to_compare_with(tmp_path: Path) -> None:
    verdict = judge(tmp_path, measured(tmp_path, "now", spread(1.2)), None)
    assert verdict["verdict"] == "pass"
    assert verdict["why"].endswith("release 1.0.0 did not measure it")


def test_another_suite_proves_nothing(tmp_path: Path) -> None:
    now = measured(tmp_path, "now", spread(1.2))
    verdict = judge(tmp_path, now, published(tmp_path, spread(1.5, n=21)))
    assert verdict["verdict"] == "not enough data"
    assert verdict["why"].endswith("release 1.0.0 was measured on other items (20 of 20 are the same)")


def test_other_tokens_of_the_same_items_prove_nothing(tmp_path: Path) -> None:
    now = measured(tmp_path, "now", spread(1.2))
    verdict = judge(tmp_path, now, published(tmp_path, spread(1.5), tokens_sha256="other"))
    assert verdict["verdict"] == "not enough data"
    assert verdict["why"].endswith("release 1.0.0 was measured on other tokens of the same items")


def test_what_is_published_holds_figures_and_no_text(tmp_path: Path) -> None:
    artifact = measured(tmp_path, "now", [1.0, 2.0])
    rows = [json.loads(line) for line in (artifact.path / "examples.jsonl").read_text().splitlines()]
    told = [{**row, "source": "chat", "answer": "a private answer", "kept": [1.0], "right": True} for row in rows]
    (artifact.path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    head, *lines = [json.loads(line) for line in outcomes_text(artifact, TOLD).splitlines()]
    assert head == {
        **TOLD,
        "tokens_sha256": "t",
        "metrics": {"loss": 1.5, "perplexity": pytest.approx(4.4817, abs=1e-4)},
    }
    assert lines[0] == {"id": "0", "nll": 10.0, "tokens": 10, "source": "chat", "right": True}


HEAD = '{"metrics": {"loss": 1}}\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json\n",
        "{}\n",
        HEAD,
        HEAD + "[1]\n",
        HEAD + '{"nll": 1.0}\n',
        HEAD + '{"id": "a", "nll": "1.0"}\n',
        HEAD + '{"id": "a", "nll": NaN}\n',
        '{"metrics": {"loss": "low"}}\n{"id": "a"}\n',
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "code.heldout.nf4.jsonl"
    path.write_text(text)
    with pytest.raises(IntegrityError, match=r"code\.heldout\.nf4\.jsonl of the previous release cannot be read"):
        read_outcomes(Pin(file_digest(path), str(path)))


def test_a_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = published(tmp_path, spread(1.5))
    pin = Pin(file_digest(path), str(path))
    assert len(read_outcomes(pin).rows) == 20
    path.write_text(path.read_text().replace("15.0", "25.0", 1) + "\n")
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_outcomes(pin)


def test_the_newest_version_below_is_the_one_before(tmp_path: Path) -> None:
    name = outcomes_file("code", "heldout", "gguf:Q8_0")
    assert name == "code.heldout.gguf-Q8_0.jsonl"
    for version in ("1.2.0", "1.10.0", "1.10.1-rc.1", "2.0.0", "notes"):
        (tmp_path / version).mkdir()
        (tmp_path / version / name).write_text(version)
    looked: list[Path] = []

    def pin(path: Path) -> Pin:
        return Pin(file_digest(path), str(path))

    def before(version: str) -> str:
        found = released_in(tmp_path, version, looked.append, pin)
        return "" if found is None else f"{found.version} {Path(found.files[name].at).read_text()}"

    assert [before(version) for version in ("2.0.0", "1.10.1", "1.10.0", "1.2.0")] == [
        "1.10.1-rc.1 1.10.1-rc.1",
        "1.10.1-rc.1 1.10.1-rc.1",
        "1.2.0 1.2.0",
        "",
    ]
    assert tmp_path in looked
    assert released_in(tmp_path / "nowhere", "1.0.0", looked.append, pin) is None
