"""All gates of a release, told in a line; and what fails alone, but not among so many."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Vf
from tests.cli.toys import Toy
from variantforge.cli.gates import gates_told
from variantforge.spec.family import VariantSpec
from variantforge.stages import STAGES
from variantforge.stages.stage import Desk, Place
from variantforge.step import Step, StepContext

ROW = {"variant": "code", "subject": "nf4", "metric": "heldout.loss", "p": 0.03, "p_holm": 0.36}
FACTS = {
    "gates": 12,
    "level": 0.05,
    "outcomes": {"pass": 10, "fail": 0, "not enough data": 2},
    "verdicts": [{**ROW, "alone": "fail", "verdict": "not enough data"}, {**ROW, "alone": "pass", "verdict": "pass"}],
}
LINES = [
    "12 gates of the release: 10 pass, 2 not enough data",
    "heldout.loss of code nf4 fails alone (p = 0.03), not among 12 (Holm: 0.36): measure more",
]


class Judge(Toy):
    """A gate with a step of the family's own."""

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        super().plan(desk, name, variant)
        if name is None:
            steps = {one: desk.step(Place("gate", one, "nf4")) for one in desk.family.variants}
            inputs = {one: step.key for one, step in steps.items() if step}
            desk.add(Place("gate", None, "family"), Step("gate", 1, "holm", {}, inputs))

    def do(self, context: StepContext) -> None:
        if context.step.method != "holm":
            super().do(context)
            return
        context.write_facts(FACTS)


def test_the_gates_of_a_release_are_told_in_a_line_and_what_fails_alone() -> None:
    assert list(gates_told(FACTS)) == LINES


def test_apply_and_show_tell_it(vf: Vf, toys: dict[str, Toy], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES._loaded, "gate", Judge("gate"))
    for ended in (vf("apply"), vf("apply"), vf("show")):
        assert ended.code == 0, ended.err
        told = " ".join(ended.out.split())
        assert all(line in told for line in LINES), ended.out
