from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stages.card.made import Made, made
from tests.stages.publish.payloads import small
from variantforge.errors import IntegrityError
from variantforge.hashing import file_digest
from variantforge.stages.publish import hub
from variantforge.stages.stage import Place
from variantforge.step import Step

HUB = {"publish": {"to": "hub", "namespace": "acme", "repo": "Small-{variant}", "collection": "Small ones"}}


def family(tmp_path: Path, **publish: object) -> Made:
    return made(tmp_path, {"publish": HUB["publish"] | publish}, fill=small)


@pytest.mark.parametrize("form", ["merged", "adapter", "gguf", "nf4"])
def test_a_repo_is_laid_out_whole_with_the_digest_of_every_file(tmp_path: Path, form: str) -> None:
    made_family = family(tmp_path)
    artifact = made_family.do("publish", "code", form)
    repo = artifact.path / "repo"
    there = {path.relative_to(repo).as_posix(): path for path in repo.rglob("*") if path.is_file()}
    assert artifact.facts["files"] == {
        name: {"sha256": file_digest(path), "size_bytes": path.stat().st_size} for name, path in there.items()
    }
    manifest = json.loads(there.pop("variantforge.json").read_text())
    assert manifest["files"].keys() == there.keys()
    assert manifest["steps"]["train"] == made_family.step("train", "code", "").key
    assert {gate["verdict"] for gate in manifest["gates"]} == {"pass"}
    step = made_family.step("publish", "code", form)
    recipe = manifest["recipe"]
    again = Step("publish", recipe["version"], recipe["method"], recipe["params"], manifest["made_from"])
    assert manifest["step"] == step.key == again.key
    assert manifest["repo"] == artifact.facts["repo"] == f"acme/Small-code{hub_suffix(form)}"


def hub_suffix(form: str) -> str:
    return {"merged": "", "adapter": "-LoRA", "gguf": "-GGUF", "nf4": "-nf4"}[form]


def test_weights_are_not_copied_a_second_time(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    laid = made_family.do("publish", "code", "merged").path / "repo" / "model.safetensors"
    merge = made_family.desk.step(Place("merge", "code"))
    assert merge is not None
    assert laid.samefile(made_family.artifacts[merge.key].path / "model" / "model.safetensors")


def test_the_index_repo_gets_the_family_page_and_the_wishes_for_the_whole(tmp_path: Path) -> None:
    made_family = family(tmp_path, channel="candidate", visibility="private", gated="manual", index="{family}-all")
    artifact = made_family.do("publish", None, "family")
    assert artifact.facts["repo"] == "acme/quick-all"
    assert (artifact.path / "repo" / "README.md").read_text() == made_family.page()
    manifest = json.loads((artifact.path / "repo" / "variantforge.json").read_text())
    assert manifest["made_from"] == dict(made_family.step("publish", None, "family").inputs)
    assert manifest["made_from"]["card"] == made_family.step("card", None, "family").key
    assert manifest["files"].keys() == {"README.md"}
    params = made_family.step("publish", None, "family").params
    assert (params["channel"], params["visibility"], params["gated"]) == ("candidate", "private", "manual")


def test_the_collection_lists_what_ships_in_the_order_of_the_file(tmp_path: Path) -> None:
    refused = frozenset({"code/nf4"})
    page = made(tmp_path, {"publish": HUB["publish"]}, fill=small, refused=refused).do("publish", None, "family")
    collection = page.facts["collection"]
    assert collection["title"] == "Small ones"
    assert [item["repo"] for item in collection["items"]] == [
        "acme/quick",
        "acme/Small-code",
        "acme/Small-code-LoRA",
        "acme/Small-code-GGUF",
    ]


def test_without_a_title_there_is_no_collection(tmp_path: Path) -> None:
    assert family(tmp_path, collection=None).do("publish", None, "family").facts["collection"] is None


def test_a_family_without_a_namespace_is_told_while_planning(tmp_path: Path) -> None:
    key, text = family(tmp_path, namespace=None).problems[0]
    assert key == "publish.namespace"
    assert text.startswith("missing: the user or organisation")


@pytest.mark.parametrize(
    ("index", "words"), [("Small-code", "would be the family's index repo"), ("a--b", "is no repo name")]
)
def test_an_index_repo_has_a_name_of_its_own(tmp_path: Path, index: str, words: str) -> None:
    problems = family(tmp_path, index=index).problems
    assert any(words in text for _, text in problems), problems


def test_a_copy_that_differs_is_not_laid_out(tmp_path: Path) -> None:
    source = tmp_path / "weights"
    source.write_bytes(b"right")
    with pytest.raises(IntegrityError, match="differs from what was to be published"):
        hub._lay(source, tmp_path / "repo" / "weights", {"sha256": "0" * 64, "size_bytes": 5})
