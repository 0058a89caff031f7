from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.stages.card.made import REFUSED, Made, made
from tests.stages.publish.payloads import small
from variantforge.errors import IntegrityError, Interrupted, OutOfSpace, PublishError
from variantforge.fsops import is_temp, telling_disk_errors
from variantforge.hashing import file_digest
from variantforge.stages.publish.stage import STAGE as PUBLISH
from variantforge.step import Artifact, Step

FORMS = ("merged", "adapter", "gguf", "nf4")
NAMES = {"merged": "Small-code", "adapter": "Small-code-LoRA", "gguf": "Small-code-GGUF", "nf4": "Small-code-nf4"}


def family(tmp_path: Path, changes: dict[str, Any] | None = None, **more: Any) -> Made:
    return made(tmp_path, changes, fill=small, **more)


def published(family: Made, form: str = "merged") -> Path:
    """The folder of one repo, published."""
    family.do("publish", "code", form)
    return family.root / "project" / "published" / NAMES[form]


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def again(family: Made, step: Step) -> Artifact:
    """The publication done once more, as after drift."""
    return family.again(step, family.root / f"again-{len(list(family.root.iterdir()))}")


def stale(family: Made, variant: str | None, form: str) -> str:
    step = family.step("publish", variant, form)
    return PUBLISH.stale(step, family.artifacts[step.key])


def test_every_form_has_a_folder_with_what_its_loader_needs(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    model = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    every = {"README.md", "LICENSE", "NOTICE", "variantforge.json"}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert names_in(published(made_family, "merged")) == every | model
    assert names_in(published(made_family, "nf4")) == every | model
    assert names_in(published(made_family, "adapter")) == (
        every | tokenizer | {"adapter_config.json", "adapter_model.safetensors"}
    )
    assert names_in(published(made_family, "gguf")) == (every | {"Small-code-Q4_K_M.gguf", "Small-code-Q8_0.gguf"})


@pytest.mark.parametrize("form", FORMS)
def test_the_manifest_lists_every_other_file_with_its_digest(form: str, tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family, form)
    manifest = json.loads((folder / "variantforge.json").read_text())
    found = {
        name: {
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            "size_bytes": (folder / name).stat().st_size,
        }
        for name in names_in(folder) - {"variantforge.json"}
    }
    step = made_family.step("publish", "code", form)
    assert manifest["files"] == found
    assert manifest["family"] == "quick"
    assert "version" not in manifest
    assert (manifest["variant"], manifest["form"], manifest["repo"]) == ("code", form, f"acme/{NAMES[form]}")
    assert (manifest["step"], manifest["made_from"]) == (step.key, dict(step.inputs))


def test_the_artifact_holds_the_same_digests(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    artifact = made_family.do("publish", "code", "merged")
    release = json.loads((artifact.path / "release.json").read_text())
    manifest = json.loads((folder / "variantforge.json").read_text())
    assert release == artifact.facts
    assert set(release["files"]) == names_in(folder)
    assert {name: it for name, it in release["files"].items() if name != "variantforge.json"} == manifest["files"]
    assert release["repo"] == "acme/Small-code"


def test_no_path_of_this_machine_is_published(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    for form in FORMS:
        folder = published(made_family, form)
        for name in names_in(folder):
            content = (folder / name).read_bytes()
            assert b"/home/me" not in content
            assert str(tmp_path).encode() not in content


def test_an_adapter_names_its_base_as_the_hub_does(tmp_path: Path) -> None:
    config = json.loads((published(family(tmp_path), "adapter") / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "acme/Small-135M"
    assert config["revision"] == "c0ffee" * 6 + "abcd"


def test_an_adapter_on_a_parent_names_the_parents_repo(tmp_path: Path) -> None:
    child = {"kind": "domain", "from": "code", "data": {"mix": {"pairs": 1.0}}}
    made_family = family(tmp_path, {"variants": {"law": child}})
    made_family.do("publish", "law", "adapter")
    folder = tmp_path / "project" / "published" / "Small-law-LoRA"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("acme/Small-code", None)


def test_what_peft_writes_as_its_card_is_not_published(tmp_path: Path) -> None:
    assert "Information Needed" not in (published(family(tmp_path), "adapter") / "README.md").read_text()


def test_what_is_no_part_of_a_model_stays_behind_and_is_told(tmp_path: Path) -> None:
    def fill(place: Any, folder: Path) -> None:
        small(place, folder)
        if place.stage == "merge":
            (folder / "model" / "training_args.bin").write_bytes(b"pickle")
            (folder / "model" / ".env").write_text("TOKEN=hf_secret")

    made_family = made(tmp_path, fill=fill)
    names = names_in(published(made_family))
    assert not names & {"training_args.bin", ".env"}
    assert made_family.notes == ["not published, since no part of a model: .env, training_args.bin"]


def test_a_link_in_an_artifact_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")

    def fill(place: Any, folder: Path) -> None:
        small(place, folder)
        if place.stage == "merge":
            (folder / "model" / "extra.json").symlink_to(tmp_path / "secret.json")

    with pytest.raises(PublishError, match=r"extra\.json is not a regular file"):
        published(made(tmp_path, fill=fill))


def test_files_of_the_store_and_published_files_are_not_one_file(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    weights = published(made_family) / "model.safetensors"
    stored = made_family.artifacts[made_family.step("merge", "code", "").key].path / "model" / "model.safetensors"
    weights.write_bytes(b"edited")
    assert stored.read_bytes().startswith(b"weights of")


def test_withheld_files_are_not_published(tmp_path: Path) -> None:
    made_family = family(tmp_path, refused=frozenset({"code/gguf:Q4_K_M"}))
    assert "Small-code-Q4_K_M.gguf" not in names_in(published(made_family, "gguf"))
    assert made_family.do("publish", "code", "gguf").facts["withheld"] == {"Small-code-Q4_K_M.gguf": REFUSED}


LAW = {"kind": "domain", "data": {"mix": {"mine": 1.0}}}


def test_a_release_that_changes_one_variant_leaves_the_repos_of_the_others_byte_for_byte(tmp_path: Path) -> None:
    def files(changes: dict[str, Any]) -> dict[str, dict[str, str]]:
        root = tmp_path / changes["version"]
        made_family = family(root, {"variants": {"law": LAW}} | changes)
        for name, form in (*(("code", form) for form in FORMS), *(("law", form) for form in ("merged", "adapter"))):
            made_family.do("publish", name, form)
        repos = (root / "project" / "published").iterdir()
        return {repo.name: {name: file_digest(repo / name) for name in names_in(repo)} for repo in repos}

    changed = {"version": "1.3.0", "variants": {"law": LAW | {"kind": "instruct"}}}
    before, after = files({"version": "1.2.0"}), files(changed)
    assert {name for name in after if after[name] != before[name]} == {"Small-law", "Small-law-LoRA"}
    assert len(after) == 6


def test_publishing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}
    repeated = again(made_family, made_family.step("publish", "code", "merged"))
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == before
    assert repeated.facts == made_family.do("publish", "code", "merged").facts
    assert made_family.notes == []


@pytest.mark.parametrize("license", ["acme-terms", "../../secret", "other"])
def test_no_licence_text_is_made_up(license: str, tmp_path: Path) -> None:
    assert "LICENSE" not in names_in(published(family(tmp_path, {"base": {"license": license}})))


def test_the_text_of_apache_2_is_published_with_the_weights(tmp_path: Path) -> None:
    text = (published(family(tmp_path, {"base": {"license": "Apache-2.0"}})) / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text


def test_an_artifact_without_its_folder_is_an_error_and_not_an_empty_repo(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="there is no model/ to publish"):
        published(made(tmp_path))


# --- what others put there --------------------------------------------------------------------------------------


def test_a_foreign_folder_is_told_while_planning_and_never_overwritten(tmp_path: Path) -> None:
    foreign = tmp_path / "project" / "published" / "Small-code"
    foreign.mkdir(parents=True)
    (foreign / "notes.txt").write_text("mine")
    made_family = family(tmp_path)
    assert [key for key, text in made_family.problems if "Small-code is there already" in text] == ["publish.path"]
    with pytest.raises(PublishError, match="was not published by variantforge") as caught:
        published(made_family)
    assert "publish.path" in caught.value.next
    assert names_in(foreign) == {"notes.txt"}


def test_an_empty_folder_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "project" / "published" / "Small-code").mkdir(parents=True)
    made_family = family(tmp_path)
    assert made_family.problems == []
    assert "variantforge.json" in names_in(published(made_family))


def test_the_folder_of_another_family_is_not_overwritten(tmp_path: Path) -> None:
    published(family(tmp_path, {"family": "other"}))
    with pytest.raises(PublishError, match="belongs to the family 'other'"):
        published(family(tmp_path))


def test_a_place_where_another_family_lies_is_told_while_planning(tmp_path: Path) -> None:
    root = all_published(family(tmp_path, {"family": "other"}))
    made_family = family(tmp_path)
    assert made_family.problems == [
        ("publish.path", f"{root} holds the family 'other'; another one needs a folder of its own")
    ]
    (root / "README.md").unlink()  # also where only the manifest is left of it
    assert family(tmp_path).problems == made_family.problems


def test_a_file_in_the_way_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    file = tmp_path / "project" / "published"
    file.write_text("a file")
    assert family(tmp_path).problems == [("publish.path", f"{file} is a file: no folder can be made there")]
    deeper = family(tmp_path, {"publish": {"path": "./published/here"}})
    assert deeper.problems == [("publish.path", f"{file} is a file: no folder can be made there")]
    with pytest.raises(PublishError, match="a file is in the way"):
        published(family(tmp_path))


def test_a_place_that_cannot_be_written_is_told_as_the_place_published_to(tmp_path: Path) -> None:
    from variantforge.stages.publish.places import telling_where

    with pytest.raises(PublishError) as caught, telling_where(tmp_path), telling_disk_errors(tmp_path):
        raise OSError(errno.EROFS, "Read-only file system")
    assert "Read-only file system" in str(caught.value)
    assert caught.value.next == "choose another publish.path in the family file"


def test_a_full_disk_is_told_as_that(tmp_path: Path) -> None:
    from variantforge.stages.publish.places import telling_where

    with pytest.raises(OutOfSpace), telling_where(tmp_path), telling_disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_files_people_added_are_carried_over_and_told(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    (folder / "images").mkdir()
    (folder / "images" / "logo.svg").write_text("<svg/>")
    again(made_family, made_family.step("publish", "code", "merged"))
    assert (folder / "images" / "logo.svg").read_text() == "<svg/>"
    assert made_family.notes == ["kept what was added to Small-code: images/logo.svg"]


def test_files_people_edited_are_replaced_and_kept_under_another_name(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    text = (folder / "README.md").read_text()
    edited = text.replace("Writes functions.", "Writes books.")
    (folder / "README.md").write_text(edited)
    again(made_family, made_family.step("publish", "code", "merged"))
    assert (folder / "README.md").read_text() == text
    (kept,) = folder.glob("README.md.edited-*")
    assert kept.read_text() == edited
    assert kept.name in made_family.notes[0]


def test_what_people_write_around_our_part_of_a_card_stays_and_is_no_drift(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    written = (folder / "README.md").read_text().replace("license:", "thumbnail: x.png\nlicense:") + "\nMy own words.\n"
    (folder / "README.md").write_text(written)
    assert stale(made_family, "code", "merged") == ""
    newer = family(tmp_path, {"variants": {"code": {"description": "Writes books."}}})
    published(newer)
    text = (folder / "README.md").read_text()
    assert "Writes books." in text
    assert "thumbnail: x.png" in text
    assert text.endswith("\nMy own words.\n")
    assert newer.notes == []
    assert stale(newer, "code", "merged") == ""
    assert not list(folder.glob("README.md.edited-*"))


def test_a_page_in_place_of_ours_is_kept_below_it(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    (folder / "README.md").write_text("my own words")
    assert "not what was published" in stale(made_family, "code", "merged")
    again(made_family, made_family.step("publish", "code", "merged"))
    assert (folder / "README.md").read_text() == made_family.card("code", "merged") + "\nmy own words\n"
    assert stale(made_family, "code", "merged") == ""


def test_a_page_that_is_no_text_is_kept_under_another_name(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    (folder / "README.md").write_bytes(b"\xff\xfe")
    again(made_family, made_family.step("publish", "code", "merged"))
    assert (folder / "README.md").read_text() == made_family.card("code", "merged")
    assert [path.read_bytes() for path in folder.glob("README.md.edited-*")] == [b"\xff\xfe"]


def test_files_of_an_older_release_that_are_no_longer_made_go(tmp_path: Path) -> None:
    folder = published(family(tmp_path), "gguf")
    assert "Small-code-Q8_0.gguf" in names_in(folder)
    newer = family(tmp_path, {"variants": {"code": {"quantize": ["gguf:Q4_K_M"]}}})
    published(newer, "gguf")
    assert "Small-code-Q8_0.gguf" not in names_in(folder)
    assert newer.notes == []


def test_a_link_among_what_people_added_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    (folder / "link").symlink_to(tmp_path)
    before = names_in(folder)
    with pytest.raises(PublishError, match="link or no regular file"):
        again(made_family, made_family.step("publish", "code", "merged"))
    assert names_in(folder) == before
    assert not [path for path in folder.parent.iterdir() if is_temp(path)]


# --- kills and errors -------------------------------------------------------------------------------------------


def test_after_a_kill_between_the_two_renames_nothing_added_is_lost(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    (folder / "mine.txt").write_text("mine")
    folder.rename(folder.with_name(f"{folder.name}.tmp-0123abcd"))
    again(made_family, made_family.step("publish", "code", "merged"))
    assert (folder / "mine.txt").read_text() == "mine"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_what_a_kill_left_half_built_is_removed_and_not_trusted(tmp_path: Path) -> None:
    half = tmp_path / "project" / "published" / "Small-code.tmp-0123abcd"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_text("half")
    folder = published(family(tmp_path))
    assert not half.exists()
    assert (folder / "model.safetensors").read_text() != "half"


def test_temporary_folders_of_other_repos_are_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "project" / "published" / "Small-code-GGUF.tmp-0123abcd"
    other.mkdir(parents=True)
    published(family(tmp_path))
    assert other.exists()


def test_asked_to_stop_it_leaves_the_old_folder_as_it_was(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    inode = folder.stat().st_ino
    with pytest.raises(Interrupted):
        made_family.again(made_family.step("publish", "code", "merged"), tmp_path / "stopped", stopping=lambda: True)
    assert folder.stat().st_ino == inode
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_copy_that_differs_is_an_error_and_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from variantforge.stages.publish import folder as module

    def half(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes()[:-1])

    monkeypatch.setattr(module, "copy_file", half)
    with pytest.raises(IntegrityError, match="differs"):
        published(family(tmp_path))
    assert list((tmp_path / "project" / "published").iterdir()) == []


# --- drift ------------------------------------------------------------------------------------------------------


def test_what_lies_as_published_is_not_stale(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    (folder / "added.txt").write_text("people may add files")
    assert stale(made_family, "code", "merged") == ""


def test_drift_is_told_with_the_file_that_differs(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    folder = published(made_family)
    size_bytes = (folder / "model.safetensors").stat().st_size
    with open(folder / "model.safetensors", "ab") as file:
        file.write(b"x")
    sizes = f"({size_bytes + 1:,} bytes, not {size_bytes:,})"
    told = stale(made_family, "code", "merged")
    assert told == f"published/Small-code/model.safetensors is not what was published {sizes}"
    (folder / "model.safetensors").unlink()
    assert stale(made_family, "code", "merged") == "published/Small-code/model.safetensors is gone"
    shutil.rmtree(folder)
    assert stale(made_family, "code", "merged") == "published/Small-code is gone"


def test_another_manifest_of_the_same_size_is_drift(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    manifest = published(made_family) / "variantforge.json"
    manifest.write_text(manifest.read_text().replace("Small-code", "Small-c0de"))
    assert stale(made_family, "code", "merged") == "published/Small-code/variantforge.json is not what was published"


def test_another_place_to_publish_to_is_drift_and_not_another_step(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    published(made_family)
    step = made_family.step("publish", "code", "merged")
    moved = dataclasses.replace(step, hints={"folder": str(tmp_path / "elsewhere")})
    assert moved.key == step.key
    assert PUBLISH.stale(moved, made_family.artifacts[step.key]) == "elsewhere/Small-code is gone"


# --- the family page --------------------------------------------------------------------------------------------


def all_published(made_family: Made) -> Path:
    for form in FORMS:
        if not made_family.do("card", "code", form).refusal:
            made_family.do("publish", "code", form)
    made_family.do("publish", None, "family")
    return made_family.root / "project" / "published"


def test_the_family_page_lies_beside_the_repos_and_lists_them(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    root = all_published(made_family)
    manifest = json.loads((root / "family.json").read_text())
    assert (root / "README.md").read_text() == made_family.page()
    assert [repo["folder"] for repo in manifest["repos"]] == list(NAMES.values())
    for repo in manifest["repos"]:
        digest = hashlib.sha256((root / repo["folder"] / "variantforge.json").read_bytes()).hexdigest()
        assert repo["manifest_sha256"] == digest
    assert manifest["title"] == "Small, made ours"
    assert stale(made_family, None, "family") == ""


def test_links_of_the_page_lead_to_folders_that_are_there(tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    root = all_published(family(tmp_path))
    tokens = MarkdownIt("commonmark").enable("table").parse((root / "README.md").read_text())
    links = {str(it.attrGet("href")) for token in tokens for it in token.children or [] if it.type == "link_open"}
    local = {link for link in links if link.startswith("./")}
    assert len(local) == 4
    assert all((root / link).is_dir() for link in local)


def test_a_refused_repo_is_on_the_page_with_the_verdict_and_not_in_the_folder(tmp_path: Path) -> None:
    made_family = family(tmp_path, refused=frozenset({"code/nf4"}))
    root = all_published(made_family)
    assert not (root / "Small-code-nf4").exists()
    assert f"- Small-code-nf4: {REFUSED}" in (root / "README.md").read_text()
    repos = {repo["form"]: repo for repo in json.loads((root / "family.json").read_text())["repos"]}
    assert repos["nf4"]["refusal"] == REFUSED
    assert "manifest_sha256" not in repos["nf4"]


def test_the_page_is_not_written_before_the_repos_lie_there(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    with pytest.raises(PublishError, match="Small-code does not lie beside it"):
        made_family.do("publish", None, "family")
    assert not (tmp_path / "project" / "published" / "README.md").exists()


def test_the_page_is_not_written_over_repos_of_another_release(tmp_path: Path) -> None:
    all_published(family(tmp_path))
    newer = family(tmp_path, {"publish": {"tags": ["new"]}})
    with pytest.raises(PublishError, match="as this release has it"):
        newer.do("publish", None, "family")


def test_a_foreign_page_is_told_while_planning_and_never_overwritten(tmp_path: Path) -> None:
    page = tmp_path / "project" / "published" / "README.md"
    page.parent.mkdir(parents=True)
    page.write_text("somebody's project")
    made_family = family(tmp_path)
    assert [key for key, text in made_family.problems if "README.md is there already" in text] == ["publish.path"]
    with pytest.raises(PublishError, match="is not the page of this family"):
        all_published(made_family)
    assert page.read_text() == "somebody's project"


def test_an_edited_page_is_replaced_and_kept(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    root = all_published(made_family)
    text = (root / "README.md").read_text()
    edited = text.replace("Two variants", "Many variants")
    (root / "README.md").write_text(edited + "\nMine.\n")
    assert stale(made_family, None, "family").startswith("published/README.md is not what was published")
    again(made_family, made_family.step("publish", None, "family"))
    assert (root / "README.md").read_text() == text + "\nMine.\n"
    assert stale(made_family, None, "family") == ""
    (kept,) = root.glob("README.md.edited-*")
    assert kept.read_text() == edited + "\nMine.\n"


@pytest.mark.parametrize("release", ["first", "second"])
def test_a_kill_between_page_and_manifest_stands_in_nobodys_way(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from variantforge.stages.publish import folder as module

    if release == "second":
        all_published(family(tmp_path, {"version": "1.1.0"}))
    made_family, write = family(tmp_path), module.write_text
    for form in FORMS:
        made_family.do("publish", "code", form)
    written: list[Path] = []

    def write_one(path: Path, text: str) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write(path, text)

    monkeypatch.setattr(module, "write_text", write_one)
    with pytest.raises(KeyboardInterrupt):
        made_family.do("publish", None, "family")
    monkeypatch.setattr(module, "write_text", write)
    later = family(tmp_path)
    assert later.problems == []
    again(made_family, made_family.step("publish", None, "family"))
    assert (tmp_path / "project" / "published" / "README.md").read_text() == made_family.page()
    assert made_family.notes == []


def test_a_page_edited_to_the_same_length_is_drift(tmp_path: Path) -> None:
    made_family = family(tmp_path)
    page = all_published(made_family) / "README.md"
    page.write_text(page.read_text().replace("Two", "Six"))
    assert stale(made_family, None, "family") == "published/README.md is not what was published"


# --- planning ---------------------------------------------------------------------------------------------------


def test_a_mistyped_publisher_is_answered_with_the_near_one(tmp_path: Path) -> None:
    key, text = family(tmp_path, {"publish": {"to": "foldr"}}).problems[0]
    assert (key, text) == ("publish.to", "unknown publisher 'foldr'. Did you mean 'folder'?")


def test_a_path_is_read_from_the_folder_of_the_family_file(tmp_path: Path) -> None:
    made_family = family(tmp_path, {"publish": {"path": "../there"}})
    assert made_family.step("publish", "code", "merged").hints["folder"] == str(tmp_path / "there")
