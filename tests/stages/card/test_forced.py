"""What ships although its gate refused it says so: on its card, and in variantforge.json."""

from __future__ import annotations

import json
from pathlib import Path

from tests.stages.card.made import made
from variantforge.stages.publish.release import manifest_text
from variantforge.step import Artifact

REASON = "the regression on | held-out rows is *accepted*"


def test_the_reason_stands_on_the_card_and_in_the_manifest(tmp_path: Path) -> None:
    family = made(tmp_path, refused=frozenset({"code/nf4"}))
    gate = family.artifacts[family.step("gate", "code", "nf4").key]
    facts = json.loads((gate.path / "facts.json").read_text())
    forced = {"reason": REASON, "refusal": facts.pop("refusal")}
    (gate.path / "facts.json").write_text(json.dumps({**facts, "forced": forced}))
    family.artifacts[gate.key] = Artifact(gate.key, gate.path)
    card = family.do("card", "code", "nf4")
    assert card.refusal == ""
    assert card.facts["forced"] == {"nf4": forced}
    text = (card.path / "README.md").read_text()
    assert "**Not every gate was passed.**" in text
    assert r"the regression on \| held-out rows is \*accepted\*" in text
    assert "because they passed every gate" not in text
    manifest = json.loads(manifest_text(family.step("publish", "code", "nf4"), {}, card.facts))
    assert manifest["forced"] == {"nf4": forced}
    assert [row["verdict"] for row in manifest["gates"]] == ["fail"]


def test_a_card_of_what_passed_says_nothing_of_it(tmp_path: Path) -> None:
    card = made(tmp_path).do("card", "code", "nf4")
    assert "forced" not in card.facts
    assert "These weights ship because they passed every gate" in (card.path / "README.md").read_text()
