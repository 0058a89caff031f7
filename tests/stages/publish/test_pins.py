"""What variantforge.json says of what a repo rests on, and of the tools that made it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.release.named import model_folder
from tests.stages.card.made import Made, made
from tests.stages.publish.payloads import small
from variantforge.plan.build import Draft
from variantforge.plan.pin import Resolver
from variantforge.stages.publish.pins import pins_beneath, pins_digest, read_pins
from variantforge.stages.stage import Place
from variantforge.step import Pin, Step
from variantforge.store.manifest import Manifest

HUB = {"publish": {"to": "hub"}}
CHILD = {"variants": {"law": {"kind": "domain", "from": "code", "data": {"mix": {"mine": 1.0}}}}}
MINE, PAIRS = hashlib.sha256(b"mine ").hexdigest(), hashlib.sha256(b"pairs ").hexdigest()[:40]


def family(folder: Path, changes: dict[str, Any] | None = None, **more: Any) -> Made:
    return made(folder, HUB | (changes or {}), fill=small, **more)


def manifest_text(family: Made, variant: str = "code", form: str = "merged") -> str:
    return (family.do("publish", variant, form).path / "repo" / "variantforge.json").read_text()


def manifest(family: Made, variant: str = "code", form: str = "merged") -> dict[str, Any]:
    return dict(json.loads(manifest_text(family, variant, form)))


@pytest.mark.parametrize("form", ["merged", "adapter", "gguf", "nf4"])
def test_every_repo_names_its_base_and_its_data_as_a_lock_does(tmp_path: Path, form: str) -> None:
    assert manifest(family(tmp_path), form=form)["pins"] == {
        "base": {"commit": f"{'c0ffee' * 6}abcd", "hub": "acme/Small-135M"},
        "data/mine": {"content": f"sha256:{MINE}"},
        "data/pairs": {"commit": PAIRS, "hub": "acme/pairs"},
        "data/stdlib/package:email": {"content": f"sha256:{hashlib.sha256(b'email').hexdigest()}"},
        "data/stdlib/package:json": {"content": f"sha256:{hashlib.sha256(b'json').hexdigest()}"},
    }


def test_the_lock_can_be_worked_out_from_the_pins_by_anybody(tmp_path: Path) -> None:
    told = manifest(family(tmp_path))
    pinned = {role: pin.get("commit") or pin["content"] for role, pin in told["pins"].items()}
    canonical = json.dumps(pinned, sort_keys=True, separators=(",", ":")).encode()
    assert told["lock"] == hashlib.sha256(canonical).hexdigest()


def test_what_is_told_moves_with_a_pin_and_with_nothing_else(tmp_path: Path) -> None:
    first = manifest(family(tmp_path))
    words = manifest(family(tmp_path, {"description": "Other words.", "publish": HUB["publish"] | {"tags": ["x"]}}))
    moved = manifest(family(tmp_path, data={"mine": "other rows"}))
    assert (words["lock"], words["pins"]) == (first["lock"], first["pins"])
    assert words["step"] != first["step"]
    assert moved["lock"] != first["lock"]
    assert [role for role in first["pins"] if first["pins"][role] != moved["pins"][role]] == ["data/mine"]


def test_data_that_only_another_variant_learns_from_leaves_a_repo_as_it_is(tmp_path: Path) -> None:
    other = {"variants": {"law": {"kind": "domain", "data": {"mix": {"more": 1.0}}}}}
    other |= {"datasets": {"more": {"path": "./more.jsonl", "license": "mit"}}}
    before, after = (family(tmp_path, other, data={"more": rows}) for rows in ("", "other rows"))
    assert manifest_text(before) == manifest_text(after)
    assert manifest(before, "law")["lock"] != manifest(after, "law")["lock"]


def test_a_variant_of_a_variant_rests_on_the_data_of_both(tmp_path: Path) -> None:
    told = manifest(family(tmp_path, CHILD), "law")["pins"]
    assert told["data/mine"] == {"content": f"sha256:{MINE}"}
    assert told["data/pairs"] == {"commit": PAIRS}  # the card of this repo does not name it either
    moved = family(tmp_path, CHILD, data={"pairs": "other rows"})
    assert manifest(moved, "law")["lock"] != pins_digest(read_pins(told) or {})


def test_a_base_from_a_package_is_named_and_one_of_this_machine_is_not(tmp_path: Path) -> None:
    model_folder(tmp_path / "base.gguf")
    base = {"base": {"model": "package:small-models/small.gguf", "revision": None}}
    told = manifest(family(tmp_path, base))["pins"]["base"]
    assert told == {"content": f"sha256:{'d' * 64}", "package": "small-models", "file": "small.gguf"}
    local = manifest(family(tmp_path, {"base": {"model": "./secret/base", "revision": None}}))
    assert local["pins"]["base"] == {"content": f"sha256:{'d' * 64}"}
    assert "secret" not in json.dumps(local)


def test_equal_steps_have_equal_hints(tmp_path: Path) -> None:
    """The pins are no part of a publish step's key, since the keys of its inputs hold them."""
    one, two = family(tmp_path), family(tmp_path)
    steps = [key for place, key in one.desk.places.items() if place.stage == "publish"]
    assert {key: one.desk.steps[key].hints for key in steps} == {key: two.desk.steps[key].hints for key in steps}


def test_a_second_base_further_down_goes_by_its_way_down(tmp_path: Path) -> None:
    """A teacher of another base, say. What both rest on is told once."""
    desk = Draft(made(tmp_path).family, tmp_path, Resolver(), lambda *_: None)

    def add(stage: str, pins: dict[str, str] | None = None, **inputs: Step) -> Step:
        pinned = {role: Pin(digest, "") for role, digest in (pins or {}).items()}
        step = Step(stage, 1, "by hand", {}, {role: it.key for role, it in inputs.items()}, pinned)
        return desk.add(Place(stage, None, step.key), step)

    own, large = add("base", {"model": "a" * 64}), add("base", {"model": "hub:" + "b" * 40})
    rows = add("data", {"data": "c" * 64})
    teacher = add("merge", base=large, data=rows)
    train = add("train", base=own, data=add("data", chat=rows), teacher=teacher)
    assert pins_beneath(desk, {"model": add("merge", base=own, adapter=train)}) == {
        "base": "sha256:" + "a" * 64,
        "data/chat": "sha256:" + "c" * 64,
        "base/model/adapter/teacher/base": "b" * 40,
    }


def made_with(family: Made, place: Place, **versions: str) -> None:
    artifact = family.artifacts[family.desk.places[place]]
    (artifact.path / "manifest.json").write_text(json.dumps({"made": {"versions": versions}}))


def test_the_tools_told_are_those_that_made_each_part(tmp_path: Path) -> None:
    lab = family(tmp_path)
    made_with(lab, Place("train", "code"), torch="2.12.0", trl="1.15.0")
    made_with(lab, Place("merge", "code"), torch="2.13.0")
    made_with(lab, Place("quantize", "code", "gguf:Q8_0"), gguf="0.17.1")
    made_with(lab, Place("evaluate", "code", "heldout:base"), torch="9.9.9")
    made_of = {"train": {"torch": "2.12.0", "trl": "1.15.0"}, "merge": {"torch": "2.13.0"}}
    assert manifest(lab)["versions"] == made_of
    files = {"quantize:gguf:Q8_0": {"gguf": "0.17.1"}, "quantize:gguf:Q4_K_M": {}}
    assert manifest(lab, form="gguf")["versions"] == made_of | files


def test_new_words_of_a_card_leave_the_tools_that_made_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained with yesterday's torch, published with today's: as the store's own manifest notes it."""
    lab = family(tmp_path)
    for place in (Place("train", "code"), Place("merge", "code")):
        monkeypatch.setattr("variantforge.store.manifest.versions", lambda: {"torch": "2.12.0"})
        artifact = lab.artifacts[lab.desk.places[place]]
        Manifest.of_folder(artifact.path, lab.desk.steps[artifact.key], {}).write(artifact.path)
    monkeypatch.setattr("variantforge.store.manifest.versions", lambda: {"torch": "2.13.0"})
    assert manifest(lab)["versions"] == {"train": {"torch": "2.12.0"}, "merge": {"torch": "2.12.0"}}


@pytest.mark.parametrize("told", [None, [], "x", {"base": "x"}, {"base": {}}, {"base": {"commit": 3}}])
def test_pins_of_another_form_are_not_read(told: object) -> None:
    assert read_pins(told) is None
