"""Retirement on the local hub: one key of the front matter, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.localhub import Fault, LocalHub
from tests.release.lab import ADAPTER, GGUF, INDEX, MERGED, apply, client, desired, planned
from variantforge.errors import NotOnHub, UsageError
from variantforge.release.observed import observe
from variantforge.release.record import LINEAGE
from variantforge.release.retire import plan_retirement, retire, successor_in
from variantforge.release.snapshot import Snapshots
from variantforge.stages.card.managed import new_version

OLD = "acme/by-hand"
WORDS = b"---\nlicense: mit\nwidget: [a, b]\n---\n\n# Made by hand\n"


@pytest.fixture
def old(hub: LocalHub, tmp_path: Path) -> LocalHub:
    apply(hub, desired(tmp_path), tmp_path)
    repo = hub.create_repo("models", OLD)
    repo.commit("refs/heads/main", {"README.md": WORDS, "model.bin": b"w"}, hub.signature("alice"), "By hand")
    return hub


def card(hub: LocalHub, repo: str) -> str:
    return hub.read(repo, "README.md").decode()


def test_one_commit_sends_readers_on_and_keeps_all_else(old: LocalHub) -> None:
    before, speaker = len(old.repo(OLD).commits("main")), client(old)
    oid = retire(plan_retirement(speaker, OLD, MERGED), speaker)
    assert old.repo(OLD).head("main") == oid
    assert len(old.repo(OLD).commits("main")) == before + 1
    assert card(old, OLD) == WORDS.decode().replace("\n---\n\n#", f"\nnew_version: {MERGED}\n---\n\n#")
    assert old.read(OLD, "model.bin") == b"w"


def test_undoing_gives_the_page_back_byte_for_byte(old: LocalHub) -> None:
    speaker = client(old)
    for repo in (OLD, MERGED):
        before = card(old, repo)
        retire(plan_retirement(speaker, repo, ADAPTER), speaker)
        assert new_version(card(old, repo)) == ADAPTER
        retire(plan_retirement(speaker, repo, ""), speaker)
        assert card(old, repo) == before


def test_a_second_time_writes_nothing(old: LocalHub) -> None:
    speaker = client(old)
    retire(plan_retirement(speaker, OLD, MERGED), speaker)
    written = len(old.writes)
    plan = plan_retirement(speaker, OLD, MERGED)
    assert plan.nothing_to_do
    assert retire(plan, speaker) == old.repo(OLD).head("main")
    assert plan_retirement(speaker, ADAPTER, "").nothing_to_do
    assert len(old.writes) == written


def test_a_later_release_keeps_the_banner(old: LocalHub, tmp_path: Path) -> None:
    speaker = client(old)
    retire(plan_retirement(speaker, ADAPTER, MERGED), speaker)
    apply(old, desired(tmp_path, "1.1.0", cards={ADAPTER: "# Other words"}), tmp_path)
    assert new_version(card(old, ADAPTER)) == MERGED
    assert "# Other words" in card(old, ADAPTER)
    assert planned(old, desired(tmp_path, "1.1.0", cards={ADAPTER: "# Other words"})).nothing_to_do


def test_a_successor_must_be_there_and_must_not_lead_back(old: LocalHub) -> None:
    speaker = client(old)
    with pytest.raises(NotOnHub, match="there is no acme/nowhere"):
        plan_retirement(speaker, OLD, "acme/nowhere")
    with pytest.raises(NotOnHub, match="there is no acme/nowhere"):
        plan_retirement(speaker, "acme/nowhere", MERGED)
    with pytest.raises(UsageError, match="leads back to it"):
        plan_retirement(speaker, OLD, OLD)
    retire(plan_retirement(speaker, OLD, ADAPTER), speaker)
    retire(plan_retirement(speaker, ADAPTER, MERGED), speaker)
    with pytest.raises(UsageError, match="leads back to it") as circle:
        plan_retirement(speaker, MERGED, OLD)
    assert circle.value.why == f"{MERGED} → {OLD} → {ADAPTER} → {MERGED}"
    assert circle.value.next == f"vf retire {ADAPTER} --undo"


def test_a_lost_reply_is_not_answered_by_a_second_commit(old: LocalHub) -> None:
    before, speaker = len(old.repo(OLD).commits("main")), client(old)
    plan = plan_retirement(speaker, OLD, MERGED)
    fault = Fault(f"POST /api/models/{OLD}/commit/*", "reply_lost")
    old.faults.append(fault)
    retire(plan, speaker)
    assert fault.fired
    assert len(old.repo(OLD).commits("main")) == before + 1


def test_somebody_who_writes_at_the_same_time_is_not_overwritten(old: LocalHub) -> None:
    speaker = client(old)
    plan = plan_retirement(speaker, OLD, MERGED)
    old.commit_as_stranger(OLD, {"README.md": WORDS + b"More words.\n"})
    retire(plan, speaker)
    assert new_version(card(old, OLD)) == MERGED
    assert "More words." in card(old, OLD)


def test_the_repo_of_the_same_variant_and_form_takes_the_place(old: LocalHub, tmp_path: Path) -> None:
    """The toys name no variant; those that do are told apart by it."""
    lineage = json.loads(old.read(MERGED, LINEAGE))
    words = json.dumps(lineage | {"variant": "code", "form": "merged", "repo": OLD, "step": "0" * 32}).encode()
    old.commit_as_stranger(OLD, {LINEAGE: words})
    speaker = client(old)
    record = observe(speaker, INDEX, "stable", Snapshots(speaker)).record
    assert record is not None
    with pytest.raises(UsageError, match="no other repo that clearly takes the place") as unclear:
        successor_in(record, speaker, OLD)
    assert GGUF in unclear.value.why
