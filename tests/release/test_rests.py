"""Whether released repos rest on what a lock holds: told by drift, import and verify."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.localhub import LocalHub
from tests.release.lab import client
from tests.release.named import model_folder, plan_of, write_family
from tests.release.test_rebuild import INDEX, Lab, laid_out
from variantforge.plan.plan import Plan
from variantforge.release.audit import audit
from variantforge.release.drift import drift_of
from variantforge.release.drift.family import family_findings
from variantforge.release.found import find_release
from variantforge.release.lock.facts import now, tools
from variantforge.release.lock.needs import needs
from variantforge.release.lock.record import Lock, Locked
from variantforge.release.lock.rests import fault_of, held, not_as_locked, pins_told
from variantforge.release.record import LINEAGE, Lineage, parse_lineage
from variantforge.spec.family import FamilySpec
from variantforge.spec.load import load_family
from variantforge.stages.publish.pins import pinned_as, pins_digest, read_pins
from variantforge.stages.stage import Place

REPO = "acme/Small-code"


def lock_of(family: FamilySpec, plan: Plan) -> Lock:
    """What ``vf lock`` writes, had it asked a Hub."""
    found: dict[str, dict[str, Locked]] = {"base": {}, "data": {}}
    for need in needs(family):
        pin = need.pin(plan)
        assert pin is not None
        pinned = pinned_as(pin)
        content = pinned if ":" in pinned else "sha256:" + "1" * 64
        found[need.section][need.name] = Locked(content, commit="" if ":" in pinned else pinned)
    return Lock(found["base"], found["data"], tools())


def moved(lock: Lock, name: str) -> Lock:
    return replace(lock, data={**lock.data, name: Locked("sha256:" + "2" * 64)})


def released_pins(hub: LocalHub, repo: str = REPO) -> tuple[Mapping[str, str], str]:
    lineage = parse_lineage(hub.read(repo, LINEAGE), repo)
    return pins_told(lineage), str(lineage.more["lock"])


@pytest.fixture
def lab(hub: LocalHub, tmp_path: Path) -> Lab:
    lab = laid_out(tmp_path)
    lab.release(hub)
    return lab


def lock_here(lab: Lab) -> Lock:
    return lock_of(lab.family.family, lab.plan)


def test_a_repo_names_the_digest_of_the_entries_in_the_lock_file(hub: LocalHub, lab: Lab) -> None:
    locked = held(lock_here(lab), lab.family.family, "code")
    for repo in find_release(client(hub), INDEX).record.repos:
        pins, digest = released_pins(hub, repo)
        assert len(pins) == 5
        assert digest == pins_digest({role: locked[role] for role in pins})


def test_a_real_lock_of_local_bytes_holds_what_a_plan_publishes(tmp_path: Path) -> None:
    """Two datasets of one file, a folder and a package of sources, and a base that two variants share."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("def one():\n    '''One.'''\n    return 1\n")
    model_folder(tmp_path / "base")
    data = {
        "rows": "path: ./rows.jsonl",
        "again": "path: ./rows.jsonl, limit: 1",
        "mined": "source: python_source, packages: [json], folder: ./src, license: mit",
    }
    path = write_family(tmp_path, data=data)
    path.write_text(path.read_text() + "  law: {kind: domain, from: code, data: {mix: {rows: 1.0}}}\n")
    spec, plan = load_family(path).spec, plan_of(path)
    lock = now(spec, plan, Lock())
    for variant in ("code", "law"):
        step = plan.steps[plan.places[Place("publish", variant, "merged")]]
        pins = read_pins(step.hints["pins"])
        assert pins is not None
        assert pins == held(lock, spec, variant)
        assert set(pins) == {"base", "data/rows", "data/again", "data/mined/folder", "data/mined/package:json"}
    (tmp_path / "rows.jsonl").write_text('{"text": "y"}\n')
    step = plan_of(path).steps[plan_of(path).places[Place("publish", "code", "merged")]]
    told = list(not_as_locked(read_pins(step.hints["pins"]) or {}, held(lock, spec, "code")))
    assert [clause.partition(" ")[0] for clause in told] == ["data/again", "data/rows"]


def test_drift_and_import_name_the_repos_that_rest_on_something_else(hub: LocalHub, lab: Lab) -> None:
    family, lock = lab.family.family, lock_here(lab)
    other = moved(lock, "./secret/rows.jsonl")
    clause = f"data/mine {lock.data['./secret/rows.jsonl'].short}, locked is 2222222"

    def resting(lock: Lock) -> list[tuple[str, str]]:
        report = drift_of(client(hub), INDEX, more=family_findings(family, lab.plan, lock, lab.store))
        return [(it.repo, it.what) for it in report.told if it.kind == "not_as_locked"]

    found = find_release(client(hub), INDEX)
    assert resting(lock) == []
    assert found.not_as_locked(lock, family) == []
    repos = list(found.record.repos)
    assert len(repos) == 4
    assert resting(other) == [(repo, f"rests on {clause}") for repo in repos]
    assert found.not_as_locked(other, family) == [f"{repo} rests on {clause}" for repo in repos]


def test_verify_with_a_lock_wants_every_base_and_dataset_in_it(hub: LocalHub, lab: Lab) -> None:
    lock = lock_here(lab)
    renamed = replace(lock, data={f"./elsewhere/{number}": it for number, it in enumerate(lock.data.values())})
    assert audit(client(hub, token=""), INDEX, lock=lock).faults == []
    assert audit(client(hub, token=""), INDEX, lock=renamed).faults == []  # the bytes count, not their names
    faults = audit(client(hub, token=""), INDEX, lock=replace(lock, base={})).faults
    assert {fault.what for fault in faults} == {"rests on base c0ffeec, which is not locked"}
    assert len(faults) == 4
    assert audit(client(hub, token=""), INDEX).faults == []


def test_pins_and_lock_that_do_not_belong_together_are_found(hub: LocalHub, lab: Lab) -> None:
    told = json.loads(hub.read(REPO, LINEAGE))
    for spoilt in ({"lock": "0" * 64}, {"lock": None}, {"pins": {}}, {"pins": None}, {"pins": {"base": "x"}}):
        lineage = parse_lineage(json.dumps(told | spoilt).encode(), REPO)
        assert fault_of(lineage) == "the lock it names is not that of its pins", spoilt
    assert fault_of(parse_lineage(json.dumps(told).encode(), REPO)) == ""
    assert fault_of(Lineage("quick", REPO, {})) == ""  # written before repos told what they rest on


def test_an_imported_repo_tells_what_it_told(hub: LocalHub, lab: Lab) -> None:
    """Also on a machine with other tools: what made the bytes is told with the bytes."""
    step = lab.family.step("publish", "code", "merged")
    manifest = lab.store.folder(step) / "repo" / LINEAGE
    before = manifest.read_bytes()
    lab.lose()
    lab.import_(hub)
    assert manifest.read_bytes() == before
    assert released_pins(hub)[0] == read_pins(json.loads(before)["pins"])
