"""``vf drift, promote, rollback, retire, import, verify``: what is told, asked and written, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Vf
from tests.cli.test_release import CODE, INDEX, LAW, family, to_hub  # noqa: F401  a family of toys on the Hub
from tests.localhub import LocalHub
from tests.localhub.hub import STRANGER


@pytest.fixture
def released(vf: Vf, to_hub: LocalHub) -> LocalHub:  # noqa: F811
    assert vf("apply", "--yes").code == 0
    return to_hub


def test_no_drift_is_told_and_ends_well(vf: Vf, released: LocalHub) -> None:
    ended = vf("drift", "--index", INDEX)
    assert (ended.code, ended.out) == (0, f"no drift: {INDEX} and its 2 repos are as 1.0.0 (stable) released them\n")


def test_drift_is_told_with_who_made_it_and_what_to_type(vf: Vf, released: LocalHub) -> None:
    card = released.read(CODE, "README.md")
    released.commit_as_stranger(CODE, {"README.md": card.replace(b"# acme", b"# Best of acme")})
    released.commit_as_stranger(LAW, {"model.safetensors": None, "mine.txt": b"x"})
    ended = vf("drift")
    assert ended.code == 4
    assert f"edited card   {CODE}  our part of README.md was edited (by {STRANGER} on 20" in ended.out
    assert f"deleted file  {LAW}   model.safetensors was deleted (by {STRANGER} on 20" in ended.out
    assert f"foreign file  {LAW}  holds files of other people: mine.txt" in ended.out
    assert "    → vf apply   # puts it back as released\n" in ended.out
    assert f"error: {INDEX} is not as 1.0.0 released it: 2 differences\nnext: vf apply" in ended.err


def test_commands_to_type_hold_the_users_own_file(vf: Vf, released: LocalHub) -> None:
    Path("family.yaml").rename("toys.yaml")
    released.commit_as_stranger(LAW, {"model.safetensors": None})
    ended = vf("drift", "toys.yaml")
    assert ended.code == 4
    assert "→ vf apply toys.yaml   # puts it back" in ended.out
    assert "→ vf lock toys.yaml\n" in ended.out


def test_what_is_asked_for_and_not_released_is_no_drift(vf: Vf, released: LocalHub) -> None:
    family("1.1.0")
    ended = vf("drift")
    assert ended.code == 0
    assert "not applied" in ended.out
    assert "the family file says 1.1.0, released is 1.0.0" in ended.out


def test_a_summary_in_markdown_goes_to_the_job_too(
    vf: Vf, released: LocalHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("### Before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    released.commit_as_stranger(LAW, {"model.safetensors": None})
    ended = vf("drift", "--index", INDEX, "--markdown")
    assert ended.code == 4
    assert "| repo | kind | what | who | since | next |" in ended.out
    assert f"| `{LAW}` | `deleted_file` |" in ended.out
    assert summary.read_text() == "### Before\n" + ended.out


def test_a_candidate_is_promoted_after_a_yes(vf: Vf, released: LocalHub) -> None:
    family("1.1.0", learning_rate="2.0e-4")
    text = Path("family.yaml").read_text()
    Path("family.yaml").write_text(text.replace("to: hub,", "to: hub, channel: candidate,"))
    assert vf("apply", "--yes").code == 0
    written = len(released.writes)
    asked = vf("promote", "candidate", "stable")
    assert asked.code == 7
    assert f"restore    {CODE}" in asked.out
    assert "next: vf promote candidate stable --yes" in asked.err
    assert len(released.writes) == written
    ended = vf("promote", "candidate", "stable", "--yes", "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert (document["version"], document["channel"], document["before"]) == ("1.1.0", "stable", "1.0.0")
    assert (document["upload_bytes"], document["wrote"]) == (0, True)
    again = vf("promote", "candidate", "stable", "--yes")
    assert (again.code, "nothing newer than stable" in again.err) == (2, True)


def test_a_rollback_is_told_by_plan_and_not_undone_by_apply(vf: Vf, released: LocalHub) -> None:
    family("1.1.0", learning_rate="2.0e-4")
    assert vf("apply", "--yes").code == 0
    ended = vf("rollback", "v1.0.0", "--yes")
    assert ended.code == 0, ended.err
    assert "released toy 1.0.0 on stable: 2 repos" in ended.out
    assert "the family file says 1.1.0 still" in ended.out
    assert "1.1.0 was taken back: the channel stable was rolled back to 1.0.0" in vf("plan").out
    written = len(released.writes)
    refused = vf("apply", "--yes")
    assert refused.code == 2
    assert "next: write 'version: 1.1.1' in the family file; or vf rollback 1.1.0" in refused.err
    assert len(released.writes) == written
    assert "by a rollback that took 1.1.0 back" in vf("drift").out
    assert vf("rollback", "1.0.0", "--yes").out.count("nothing to write") == 1
    assert len(released.writes) == written
    family("1.1.1", learning_rate="2.0e-4")
    assert vf("apply", "--yes").code == 0


def test_a_repo_is_retired_after_a_yes_and_brought_back(vf: Vf, released: LocalHub) -> None:
    before = released.read(LAW, "README.md")
    asked = vf("retire", LAW, "--new-version", CODE)
    assert asked.code == 7
    assert f"retire {LAW} of the family toy: new_version nothing → {CODE}" in asked.out
    ended = vf("retire", LAW, "--new-version", CODE, "--yes")
    assert (ended.code, ended.out.splitlines()[-1][:5]) == (0, "done:")
    assert "nothing to do:" in vf("retire", LAW, "--new-version", CODE).out
    assert "sends its readers to acme/toy-code" in vf("drift").out
    document = json.loads(vf("retire", LAW, "--undo", "--yes", "--json").out)
    assert (document["before"], document["new_version"], document["wrote"]) == (CODE, "", True)
    assert released.read(LAW, "README.md") == before


REFUSALS = [
    (("drift", "--index", "toy"), 2, "'toy' is no repo on the Hub", "ORG/NAME"),
    (("drift", "--json", "--markdown"), 2, "exclude each other", "vf drift --json"),
    (("drift", "--channel", "candidate"), 2, "nothing was released on the channel candidate", "vf apply"),
    (("promote", "stable", "stable"), 2, "stable cannot be promoted to itself", "vf promote candidate stable"),
    (("promote", "beta", "stable"), 2, "beta", "vf promote --help"),
    (("rollback", "0.1.0"), 2, "has no release 0.1.0", ""),
    (("retire", "code"), 2, "'code' is no repo on the Hub", "ORG/NAME"),
    (("retire", CODE, "--new-version", "law@v1"), 2, "'law@v1' is no repo on the Hub", "ORG/NAME"),
    (("import", "--adopt", "code"), 2, "'code' is no repo on the Hub", "ORG/NAME"),
    (("import", "--adopt", "acme/other"), 2, "acme/other is no repo of this family", "publish.repo"),
    (("retire", "acme/gone", "--new-version", CODE), 1, "there is no acme/gone", "look at http"),
    (("retire", CODE, "--new-version", "acme/gone"), 1, "there is no acme/gone", "look at http"),
    (("retire", CODE), 2, "no other repo that clearly takes the place", f"vf retire {CODE} --new-version"),
    (("retire", CODE, "--undo", "--new-version", LAW), 2, "exclude each other", f"vf retire {CODE} --undo"),
    (("import", "--version", "7.0.0"), 2, "has no release 7.0.0", "look at http"),
    (("import", "gone.yaml"), 2, "there is no gone.yaml", "vf import family.yaml"),
    (("import", "--adopt", "acme/toy-code-LoRA"), 1, "there is no acme/toy-code-LoRA", "look at http"),
    (("verify", "toy"), 2, "'toy' names no release", "vf verify"),
    (("verify", "acme/gone"), 1, "there is no acme/gone", "hf auth login"),
    (("verify", f"{INDEX}@2.0.0"), 2, "holds no release 2.0.0", f"vf verify {INDEX}@1.0.0"),
]


def test_every_refusal_ends_in_what_to_do(vf: Vf, released: LocalHub) -> None:
    written = len(released.writes)
    for words, code, told, next in REFUSALS:
        ended = vf(*words)
        assert (ended.code, told in ended.err) == (code, True), ended
        assert not next or next in ended.err.partition("next: ")[2], ended.err
    assert len(released.writes) == written


def test_a_family_that_is_not_on_the_hub_has_no_release(vf: Vf, toys: object) -> None:
    for words in (("drift",), ("rollback", "1.0.0"), ("promote", "candidate", "stable"), ("import",)):
        ended = vf(*words)
        assert (ended.code, "is not published to the Hub" in ended.err) == (2, True)
        assert "--index ORG/NAME" in ended.err


def test_a_release_verifies_for_anybody(vf: Vf, released: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    ended = vf("verify", f"{INDEX}@1.0.0", "--download")
    assert ended.code == 0, ended.err
    assert "verified: toy 1.0.0 is what it says: 2 repos, 4 files" in ended.out
    released.repo(LAW).store.delete_ref("refs/tags/v1.0.0")
    wrong = vf("verify", INDEX, "--json")
    assert wrong.code == 6
    assert json.loads(wrong.out)["faults"] == [{"repo": LAW, "what": "its tag v1.0.0 is missing", "path": ""}]
    assert f"{LAW} its tag v1.0.0 is missing" in wrong.err


def test_verify_reads_a_lock_and_holds_the_release_against_it(vf: Vf, released: LocalHub, tmp_path: Path) -> None:
    """The toys' variantforge.json does not tell what they rest on."""
    assert vf("lock").code == 0
    ended = vf("verify", INDEX, "--lock", "variantforge.lock")
    assert (ended.code, f"{CODE} does not tell what it rests on" in ended.err) == (6, True), ended
    assert vf("verify", INDEX).code == 0
    ended = vf("verify", INDEX, "--lock", "gone.lock")
    assert (ended.code, "gone.lock" in ended.err) == (2, True), ended


def test_a_foreign_repo_is_adopted_and_then_released_over(vf: Vf, to_hub: LocalHub) -> None:  # noqa: F811
    repo = to_hub.create_repo("models", CODE)
    repo.commit("refs/heads/main", {"photo.txt": b"x"}, to_hub.signature("alice"), "By hand")
    refused = vf("apply", "--yes")
    assert refused.code == 7
    assert f"next: vf import --adopt {CODE}" in refused.err
    ended = vf("import", "--adopt", CODE)
    assert (ended.code, f"adopted {CODE}: 2 files kept" in ended.out) == (0, True), ended
    assert vf("apply", "--yes").code == 0
    assert to_hub.read(CODE, "photo.txt") == b"x"
    assert vf("drift").code == 0


def test_what_names_no_step_is_told_as_missing(vf: Vf, released: LocalHub) -> None:
    """The toys' variantforge.json has no recipe, like one that another program wrote."""
    document = json.loads(vf("import", "--json").out)
    assert document["fetched"] == 0
    assert [text.partition(":")[0] for text in document["missing"][:2]] == [CODE, LAW]
