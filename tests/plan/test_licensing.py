"""The judgement of a whole family: what binds where, what is asked of the Hub, and which letter comes of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.localhub import LocalHub
from variantforge import Resolver, build_plan, load_family
from variantforge.errors import LicenceRefused
from variantforge.licences import Allowed, Refused
from variantforge.plan.licensing import Licences, licences_of, license_on_hub
from variantforge.plan.plan import Plan

COMMIT = "c0ffee" * 6 + "abcd"
HUB = {"to": "hub", "namespace": "acme"}


def plan_of(folder: Path, model: Path | str, **changes: Any) -> Plan:
    """A family of one variant; sections are given whole."""
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    spec: dict[str, Any] = {
        "family": "small",
        "base": {"model": str(model)},
        "datasets": {"rows": {"path": "./rows.jsonl", "license": "mit"}},
        "variants": {"code": {"kind": "code", "data": {"mix": {"rows": 1.0}}}},
        "publish": HUB,
    }
    file = folder / "family.yaml"
    file.write_text(yaml.safe_dump(spec | changes))
    return build_plan(load_family(file), Resolver())


def silent(at: str, repo_type: str) -> str | None:
    raise AssertionError(f"nobody should ask for {at}")


def says(licence: str | None) -> Any:
    return lambda at, repo_type: licence


def kinds(found: Licences) -> set[str]:
    return {reason.kind for each in found.judgements.values() if isinstance(each, Refused) for reason in each.reasons}


@pytest.fixture
def base(tiny_llama: Path, tmp_path: Path) -> Path:
    """A model folder of one's own, under Apache-2.0 as its README says."""
    return Path(shutil.copytree(tiny_llama, tmp_path / "base"))


def test_a_family_of_permissive_parts_is_published(base: Path, tmp_path: Path) -> None:
    found = licences_of(plan_of(tmp_path, base), silent)
    assert list(found.judgements) == ["acme/small-code", "acme/small-code-LoRA"]
    assert all(isinstance(each, Allowed) and each.licence == "apache-2.0" for each in found.judgements.values())
    assert found.notes() == []
    found.refuse("family.yaml")


def test_a_refusal_names_every_reason_every_repo_and_what_to_write(base: Path, tmp_path: Path) -> None:
    (base / "README.md").write_text("---\nlicense: llama3.2\n---\n")
    datasets = {"rows": {"path": "./rows.jsonl", "license": "cc-by-nc-4.0"}}
    found = licences_of(plan_of(tmp_path, base, datasets=datasets), silent)
    with pytest.raises(LicenceRefused) as caught:
        found.refuse("family.yaml")
    letter = str(caught.value)
    assert caught.value.exit_code == 7
    assert "small-code: with the base 'base', its name must begin with 'Llama'" in letter
    assert "publish.repo: 'Llama-{family}-{variant}'" in letter
    assert "the dataset 'rows' is under Creative Commons BY-NC 4.0, which forbids earning money" in letter
    assert "acme/small-code, acme/small-code-LoRA" in letter
    assert letter.count("forbids earning money") == 1


def test_a_folder_is_told_what_the_hub_would_be_refused(base: Path, tmp_path: Path) -> None:
    (base / "README.md").write_text("---\nlicense: llama3.2\n---\n")
    found = licences_of(plan_of(tmp_path, base, publish={"to": "folder"}), silent)
    found.refuse("family.yaml")
    assert any("must begin with 'Llama'" in note for note in found.notes())


def test_a_private_repo_is_bound_by_what_does_not_depend_on_its_readers(base: Path, tmp_path: Path) -> None:
    datasets = {"rows": {"path": "./rows.jsonl", "license": "cc-by-sa-4.0"}}
    private = licences_of(plan_of(tmp_path, base, datasets=datasets, publish=HUB | {"visibility": "private"}), silent)
    assert kinds(private) == set()
    assert any("goes out under cc-by-sa-4.0" in note for note in private.notes())
    assert kinds(licences_of(plan_of(tmp_path, base, datasets=datasets), silent)) == {"disputed"}


def test_the_data_of_a_parent_binds_its_child(base: Path, tmp_path: Path) -> None:
    datasets = {name: {"path": "./rows.jsonl", "license": it} for name, it in (("nc", "cc-by-nc-4.0"), ("rows", "mit"))}
    variants = {
        "first": {"kind": "code", "data": {"mix": {"nc": 1.0}}},
        "second": {"kind": "code", "from": "first", "data": {"mix": {"rows": 1.0}}},
    }
    found = licences_of(plan_of(tmp_path, base, datasets=datasets, variants=variants), silent)
    assert all(isinstance(each, Refused) for each in found.judgements.values())
    assert {name.rpartition("-")[0] for name in found.judgements} == {
        "acme/small",
        "acme/small-first",
        "acme/small-second",
    }


def test_the_user_s_word_counts_with_a_reason(base: Path, tmp_path: Path) -> None:
    (base / "README.md").write_text("# no licence\n")
    stated = {"model": str(base), "license": "apache-2.0"}
    assert kinds(licences_of(plan_of(tmp_path, base, base=stated), silent)) == {"unknown"}
    reasoned = stated | {"license_reason": "we trained it ourselves"}
    assert kinds(licences_of(plan_of(tmp_path, base, base=reasoned), silent)) == set()


def test_territories_are_kept_out_only_by_people_who_look(base: Path, tmp_path: Path) -> None:
    (base / "README.md").write_text("---\nlicense: other\nlicense_name: tencent-hunyuan-community\n---\n")
    excluded = HUB | {"excluded_territories": ["EU", "UK", "KR"]}
    assert kinds(licences_of(plan_of(tmp_path, base, publish=HUB), silent)) == {"territory"}
    assert kinds(licences_of(plan_of(tmp_path, base, publish=excluded), silent)) == {"territory"}
    assert kinds(licences_of(plan_of(tmp_path, base, publish=excluded | {"gated": "manual"}), silent)) == set()


def on_hub(folder: Path, **base: Any) -> Plan:
    datasets = {"chat": {"path": "acme/chat", "revision": COMMIT, "format": "messages"}}
    variants = {"code": {"kind": "code", "data": {"mix": {"chat": 1.0}}}}
    spec = {"model": "acme/base", "revision": COMMIT} | base
    return plan_of(folder, "acme/base", base=spec, datasets=datasets, variants=variants)


def test_what_lies_on_the_hub_is_asked_for_once_at_its_commit(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def ask(at: str, repo_type: str) -> str:
        asked.append((at, repo_type))
        return "mit"

    assert kinds(licences_of(on_hub(tmp_path), ask)) == set()
    assert sorted(asked) == [(f"hub:acme/base@{COMMIT}", "model"), (f"hub:acme/chat@{COMMIT}", "dataset")]


def test_a_card_without_a_licence_is_unknown_and_a_hub_out_of_reach_believes_what_is_stated(tmp_path: Path) -> None:
    assert kinds(licences_of(on_hub(tmp_path), says(""))) == {"unknown"}
    assert kinds(licences_of(on_hub(tmp_path), says(None))) == {"unknown"}
    away = licences_of(on_hub(tmp_path, license="mit"), says(None))
    assert away.unasked == ("acme/base",)
    assert any("could not be asked which licence acme/base names" in note for note in away.notes())
    assert {
        reason.text for each in away.judgements.values() if isinstance(each, Refused) for reason in each.reasons
    } == {"the dataset 'chat' names no licence"}


def test_what_is_stated_must_be_what_the_card_on_the_hub_says(tmp_path: Path) -> None:
    assert kinds(licences_of(on_hub(tmp_path, license="mit"), says("apache-2.0"))) == {"contradiction"}


def test_the_card_is_read_from_the_hub(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    commits: dict[str, str] = {}
    for name, path, text in (
        ("acme/told", "README.md", "---\nlicense: gemma\n---\n"),
        ("acme/silent", "README.md", "---\ntags: [a]\n---\n"),
        ("acme/bare", "rows.jsonl", "{}"),
    ):
        api.create_repo(name, repo_type="dataset")
        done = api.upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=name, repo_type="dataset")
        commits[name] = done.oid
    found = {name: license_on_hub(f"hub:{name}@{commit}", "dataset") for name, commit in commits.items()}
    assert found == {"acme/told": "gemma", "acme/silent": "", "acme/bare": ""}
    assert license_on_hub(f"hub:acme/nothing@{COMMIT}", "model") is None


def test_offline_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert license_on_hub(f"hub:acme/base@{COMMIT}", "model") is None


def test_a_letter_about_a_thousand_repos_stays_a_letter(base: Path, tmp_path: Path) -> None:
    (base / "README.md").write_text("---\nlicense: llama3.2\n---\n")
    variants = {f"v{number}": {"kind": "code", "data": {"mix": {"rows": 1.0}}} for number in range(60)}
    found = licences_of(plan_of(tmp_path, base, variants=variants), silent)
    with pytest.raises(LicenceRefused) as caught:
        found.refuse("family.yaml")
    assert len(found.judgements) == 120
    assert "and 104 reasons more" in str(caught.value)
    assert "and 104 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 24
