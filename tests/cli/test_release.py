"""``vf plan`` and ``vf apply`` of a family that is released to the Hub: what is told, asked, and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Vf
from tests.cli.toys import Toy, family_text
from tests.localhub import LocalHub
from variantforge.hashing import file_digest
from variantforge.spec.family import VariantSpec
from variantforge.stages import STAGES
from variantforge.stages.card.managed import card_text
from variantforge.stages.stage import Desk, Place
from variantforge.step import Step, StepContext

CODE, LAW, INDEX = "acme/toy-code", "acme/toy-law", "acme/toy"


class Laid(Toy):
    """Publishing as the real stage does it for the Hub: ``repo/`` in the artifact, weights of the variant's own."""

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        publish, words = desk.family.publish, {"family": desk.family.family}
        if name is not None:
            step = desk.step(Place("card", name, "nf4"))
            assert step is not None
            params: dict[str, Any] = words | {"repo": f"acme/toy-{name}", "variant": name}
            desk.add(Place("publish", name, "nf4"), Step("publish", 1, "hub", params, {"card": step.key}))
            return
        step = desk.step(Place("card", None, "family"))
        assert step is not None
        params = words | {"version": desk.family.version, "repo": INDEX, "channel": publish.channel}
        params |= {"visibility": publish.visibility, "gated": publish.gated}
        desk.add(Place("publish", None, "family"), Step("publish", 1, "hub", params, {"card": step.key}))

    def do(self, context: StepContext) -> None:
        repo, key = context.out / "repo", context.step.inputs["card"]
        repo.mkdir()
        (repo / "README.md").write_text(card_text({"license": "mit"}, f"# {context.step.params['repo']}"))
        if "variant" in context.step.params:
            (repo / "model.safetensors").write_bytes(key.encode() * 1000)
        files = {path.name: described(path) for path in sorted(repo.iterdir())}
        manifest = {"made_by": "variantforge", "format": 1, "family": "toy", "repo": context.step.params["repo"]}
        (repo / "variantforge.json").write_text(json.dumps(manifest | {"files": files}))
        files["variantforge.json"] = described(repo / "variantforge.json")
        context.write_facts({"repo": context.step.params["repo"], "files": files, "withheld": {}, "collection": None})


def described(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path), "size_bytes": path.stat().st_size}


def family(version: str = "1.0.0", learning_rate: str = "1.0e-4") -> None:
    publish = f"version: {version}\npublish: {{to: hub, namespace: acme, repo: 'toy-{{variant}}'}}\n"
    Path("family.yaml").write_text(family_text(learning_rate) + publish)


@pytest.fixture
def to_hub(toys: dict[str, Toy], hub: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LocalHub:
    monkeypatch.setitem(STAGES._loaded, "publish", Laid("publish"))
    for name, value in hub.env(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    family()
    return hub


def test_nothing_is_written_without_a_yes(vf: Vf, to_hub: LocalHub) -> None:
    ended = vf("apply")
    assert ended.code == 7, ended.err
    assert "nobody is here to say yes" in ended.err
    assert "next: vf apply --yes" in ended.err
    assert f"create  {CODE}" in ended.out
    assert to_hub.writes == []


def test_a_release_is_shown_and_made_and_the_second_apply_writes_nothing(vf: Vf, to_hub: LocalHub) -> None:
    ended = vf("apply", "--yes")
    assert ended.code == 0, ended.err
    assert "release 1.0.0 on stable: 5 commits of 128 an hour" in ended.out
    assert "released toy 1.0.0 on stable: 2 repos" in ended.out
    assert "the branches disagreed for" in ended.out
    assert json.loads(to_hub.read(INDEX, "release.json"))["version"] == "1.0.0"
    written = len(to_hub.writes)
    again = vf("apply", "--yes")
    assert (again.code, len(to_hub.writes)) == (0, written)
    assert "nothing to write" in again.out


def test_show_tells_what_was_released_from_here(vf: Vf, to_hub: LocalHub) -> None:
    assert "releases" not in vf("show").out
    vf("apply", "--yes")
    assert "1.0.0 (stable)  released" in vf("show").out
    (told,) = json.loads(vf("show", "--json").out)["releases"]
    assert (told["version"], told["phase"]) == ("1.0.0", "done")


def test_a_plan_tells_what_will_be_created_before_anything_ran(vf: Vf, to_hub: LocalHub) -> None:
    ended = vf("plan")
    assert ended.code == 0, ended.err
    assert "alice" in ended.out
    assert f"create  {CODE}  when its steps have run" in ended.out
    assert "5 commits, 128 of 128 are left this hour" in ended.out
    assert to_hub.writes == []


def test_a_plan_and_the_doctor_tell_what_is_left_of_the_hour_and_of_the_window(vf: Vf, to_hub: LocalHub) -> None:
    before = " ".join(vf("plan").out.split())
    assert "ok budget 5 commits, 128 of 128 are left this hour; about 80 requests, " in before
    assert " are left in this window create " in before
    assert vf("apply", "--yes").code == 0
    assert "budget" not in vf("plan").out
    family(version="1.1.0", learning_rate="2.0e-4")
    assert "3 commits, 123 of 128 are left this hour" in vf("plan").out
    assert " commits, 123 of 128 are left this hour" in vf("doctor").out


def test_a_plan_needs_no_place_to_write_to(vf: Vf, to_hub: LocalHub, tmp_path: Path) -> None:
    """And leaves nothing there that tells of releases."""
    assert vf("plan").code == vf("doctor").code == vf("show").code == 0
    assert not (tmp_path / ".variantforge" / "releases.sqlite").exists()


def test_only_the_changed_repo_is_written(vf: Vf, to_hub: LocalHub) -> None:
    vf("apply", "--yes")
    head = to_hub.repo(LAW).head("main")
    family("1.1.0", learning_rate="2.0e-4")
    vf("apply")  # everything but the release
    planned = vf("plan", "--detailed-exitcode")
    assert planned.code == 10
    assert f"update     {CODE}  change model.safetensors, variantforge.json" in planned.out
    assert f"unchanged  {LAW}" in planned.out
    ended = vf("apply", "--yes")
    assert ended.code == 0, ended.err
    assert to_hub.repo(LAW).head("main") == head
    assert to_hub.repo(LAW).tags().keys() == {"v1.0.0", "v1.1.0"}


def test_other_content_under_a_released_version_is_refused(vf: Vf, to_hub: LocalHub) -> None:
    vf("apply", "--yes")
    written = len(to_hub.writes)
    family("1.0.0", learning_rate="2.0e-4")
    ended = vf("apply", "--yes")
    assert (ended.code, len(to_hub.writes)) == (2, written)
    assert "1.0.1" in ended.err


def test_a_version_that_is_taken_is_told_before_anything_is_trained(vf: Vf, to_hub: LocalHub) -> None:
    vf("apply", "--yes")
    family("1.0.0", learning_rate="2.0e-4")
    warning = "version 1.0.0 is released already and means that content for ever: write 'version: 1.0.1'"
    assert f"warning: {warning}" in vf("plan").out
    told = vf("apply", "--yes").err
    assert told.index(warning) < told.index("train code")


def test_what_a_stranger_changed_is_shown_and_put_back(vf: Vf, to_hub: LocalHub) -> None:
    vf("apply", "--yes")
    to_hub.commit_as_stranger(CODE, {"README.md": b"mine now", "model.safetensors": None})
    planned = vf("plan")
    assert f"drifted    {CODE}" in planned.out
    assert "edited README.md, deleted model.safetensors by " in " ".join(planned.out.split()), planned.out
    assert vf("apply", "--yes").code == 0
    assert "model.safetensors" in to_hub.repo(CODE).files("main")
    assert b"mine now" in to_hub.read(CODE, "README.md")  # people's words are kept, below ours
    assert "nothing to write" in vf("plan").out


def test_json_tells_the_same(vf: Vf, to_hub: LocalHub) -> None:
    waiting = json.loads(vf("plan", "--json").out)["hub"]
    assert [it["action"] for it in waiting["waiting"]] == ["create", "create"]
    told = json.loads(vf("apply", "--yes", "--json").out)["release"]
    assert {it["repo"]: it["action"] for it in told["repos"]} == {CODE: "create", LAW: "create"}
    assert told["released"].keys() == {CODE, LAW}
    assert json.loads(vf("plan", "--json").out)["hub"]["release"]["nothing_to_do"] is True


def test_a_plan_in_markdown_goes_into_the_summary_of_the_job(
    vf: Vf, to_hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    waiting = vf("plan", "--markdown")
    assert "19 steps: **19 run**, 0 reuse, 0 blocked." in waiting.out
    assert "| create | acme/toy-code | when its steps have run |" in waiting.out
    assert summary.read_text() == "before\n" + waiting.out
    vf("apply")
    assert "**Release 1.0.0** on stable: 5 commits" in vf("plan", "--markdown").out
    vf("apply", "--yes")
    assert "The Hub holds release 1.0.0 (stable) as it is wished." in vf("plan", "--markdown").out
    assert vf("plan", "--markdown", "--json").code == 2


def test_a_hub_that_is_down_keeps_no_plan_from_being_told(
    vf: Vf, to_hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("variantforge.cli.hub._LOOK_S", 0.1)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    ended = vf("plan")
    assert ended.code == 0
    assert "steps:" in ended.out
    assert "127.0.0.1:9" in ended.out


@pytest.mark.parametrize("words", [("--offline",), ("--only", "code"), ("--until", "merge")])
def test_the_hub_is_not_asked_where_it_has_no_say(vf: Vf, to_hub: LocalHub, words: tuple[str, ...]) -> None:
    assert vf("plan", *words).code == 0
    assert len(to_hub.log) == 0


def test_a_part_of_a_family_is_never_released(vf: Vf, to_hub: LocalHub) -> None:
    assert vf("apply", "--yes", "--only", "code").code == 0
    assert to_hub.writes == []


def test_a_failed_step_keeps_the_whole_release_back(vf: Vf, to_hub: LocalHub, toys: dict[str, Toy]) -> None:
    from variantforge.errors import TrainError

    toys["train"].failures["train law"] = TrainError("no")
    assert vf("apply", "--yes").code == 1
    assert to_hub.writes == []


def test_a_token_that_may_not_write_is_told_before_the_work(vf: Vf, to_hub: LocalHub, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_TOKEN", to_hub.accounts.add_token(to_hub.user, role="read"))
    planned = vf("plan")
    assert "wrong" in planned.out
    ended = vf("apply", "--yes")
    assert ended.code == 1
    assert ended.err.index("warning:") < ended.err.index("train code")
    assert to_hub.writes == [] or all(it.status >= 400 for it in to_hub.writes)
