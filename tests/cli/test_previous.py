"""Gates against the previous release of a family on the Hub: asked for while planning, and what is told without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.toys import Toy, family_text
from tests.localhub import LocalHub

GATED = """\
version: 1.1.0
evaluate: {heldout: {evaluator: perplexity}}
gates: [{metric: heldout.loss, vs: previous, worse_by_at_most: 0.01}]
publish: {to: hub, namespace: acme, repo: "toy-{variant}"}
"""


@pytest.fixture
def gated(toys: dict[str, Toy], hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalHub:
    for name, value in hub.env(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "family.yaml").write_text(family_text() + GATED)
    return hub


def test_without_the_hub_it_is_not_taken_for_a_first_release(vf: Vf, gated: LocalHub) -> None:
    ended = vf("plan", "--offline")
    assert (ended.code, ended.out) == (2, "")
    assert "what acme/toy released before 1.1.0 is not known without asking the Hub" in ended.err
    assert "next: vf plan" in ended.err


def test_what_was_fetched_earlier_serves_without_the_hub(vf: Vf, gated: LocalHub, tmp_path: Path) -> None:
    (tmp_path / ".variantforge/previous/acme--toy/1.1.0-c0ffee/1.0.0").mkdir(parents=True)
    ended = vf("plan", "--offline")
    assert ended.code == 0, ended.err
    assert "gates are compared with release 1.0.0, as it was fetched earlier" in ended.err


def test_a_hub_that_has_no_release_yet_is_asked_and_nothing_is_missed(vf: Vf, gated: LocalHub) -> None:
    ended = vf("plan")
    assert ended.code == 0, ended.err
    assert any("acme/toy" in entry.path for entry in gated.log)


def test_gates_that_do_not_compare_with_it_ask_nobody(vf: Vf, gated: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "family.yaml").write_text(family_text() + GATED.replace("vs: previous", "vs: base"))
    assert vf("plan", "--offline").code == 0
    assert not list(gated.log)
