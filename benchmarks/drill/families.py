"""The two families that the story can be told of: the quickstart's, and one of models with two layers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Protocol

from variantforge.release.record import Record

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "drill"  # trained once, and kept for the next drill
_STORE = ".variantforge"


class Family(Protocol):
    """``changes``: the variant that 1.1.0 trains anew. ``store``: where its artifacts are kept between drills."""

    name: str
    index: str
    changes: str
    store: Path

    def write(self, folder: Path, version: str, *, changed: bool, described: bool, channel: str) -> None:
        """``family.yaml`` in a folder: one variant changed, or one card in other words."""

    def artifacts(self, folder: Path, store: Path, record: Record) -> list[dict[str, Any]]: ...


class OnHub:
    """What both have in common."""

    store: Path

    def artifacts(self, folder: Path, store: Path, record: Record) -> list[dict[str, Any]]:
        """What ``load.py`` is asked: each artifact of a release, and where its like lies in the store."""
        from variantforge.plan.build import build_plan
        from variantforge.plan.pin import Resolver
        from variantforge.spec.load import load_family
        from variantforge.stages.card.repos import gguf_file, repo
        from variantforge.stages.stage import Place
        from variantforge.store.artifacts import Store

        file = load_family(folder / "family.yaml")
        plan, kept = build_plan(file, Resolver(cache=store / "pins.json")), Store(store)

        def local(*place: Any) -> Path:
            artifact = kept.find(plan.steps[plan.places[Place(*place)]])
            assert artifact is not None, f"the store has no {place}"
            return artifact.path

        asked = []
        for place in plan.places:
            if place.stage != "publish" or place.variant is None:
                continue
            variant, form = place.variant, str(place.name)
            this = repo(file.spec, variant, form).id
            words = {"form": form, "repo": this, "revision": record.repos[this].commit, "file": ""}
            words["base"] = str(local("base", variant) / "model")
            if form == "gguf":
                formats = [it.name for it in plan.places if it.stage == "quantize" and it.variant == variant]
                for format in sorted(
                    name for name in formats if name and name.startswith("gguf:") and "source" not in name
                ):
                    path = str(local("quantize", variant, format) / "model.gguf")
                    asked.append({**words, "file": gguf_file(file.spec, variant, format), "local": path})
                continue
            lies = {"merged": ("merge", variant), "adapter": ("train", variant), "nf4": ("quantize", variant, "nf4")}
            part = "adapter" if form == "adapter" else "model"
            asked.append({**words, "local": str(local(*lies[form]) / part)})
        return asked


class Quickstart(OnHub):
    """specs/quickstart.yaml, published to the hub. Takes over what ``make quickstart`` has trained."""

    name, index, changes = "quickstart", "acme/smollm2-135m-stdlib", "docs"

    def __init__(self) -> None:
        self.store = CACHE / "quickstart"
        trained = ROOT / "specs" / _STORE
        if not self.store.exists() and (trained / "train").exists():
            # artifacts never change and are shared; what else lies there belongs to other releases
            shutil.copytree(
                trained, self.store, copy_function=os.link, ignore=shutil.ignore_patterns("*.sqlite*", "scratch")
            )

    def write(self, folder: Path, version: str, *, changed: bool, described: bool, channel: str) -> None:
        text = (ROOT / "specs" / "quickstart.yaml").read_text()
        head, _, publish = text.partition("\npublish:\n")
        assert "  path: ./published\n" in publish
        qlora = "train: {adapter: {type: qlora, r: 16, alpha: 32}"
        assert f"{qlora}}}" in head
        if changed:
            head = head.replace(f"{qlora}}}", f"{qlora}, args: {{max_steps: 24}}}}")
        if described:
            head = head.replace("description: Writes a function", "description: Writes a short function")
        head = head.replace("version: 0.1.0", f"version: {version}")
        publish = publish.replace("  to: folder\n", f"  to: hub\n  namespace: acme\n  channel: {channel}\n")
        publish = publish.replace("  path: ./published\n", "")
        (folder / "family.yaml").write_text(f"{head}\npublish:\n{publish}")


class Tiny(OnHub):
    """The family of the end-to-end tests."""

    name, index, changes = "tiny", "acme/tiny", "lora"

    def __init__(self) -> None:
        self.store = CACHE / "tiny" / "store"
        self.base = CACHE / "tiny" / "base"
        if not self.base.exists():
            from tests.tiny import tiny_model

            building = CACHE / "tiny" / "building"
            shutil.rmtree(building, ignore_errors=True)
            tiny_model(building)
            building.rename(self.base)

    def write(self, folder: Path, version: str, *, changed: bool, described: bool, channel: str) -> None:
        from tests.e2e.family import write_family

        file = write_family(folder, self.base, rank=4 if changed else 8)
        text = file.read_text()
        text = text.replace("family: tiny\n", f"family: tiny\nversion: {version}\n")
        text = text.replace("license: apache-2.0}", "name: acme/tiny-base, license: apache-2.0}")
        text = text.replace(
            "    kind: domain\n",
            "    kind: domain\n    description: Knows colours, in few words.\n" if described else "    kind: domain\n",
        )
        publish = f"to: hub, namespace: acme, repo: 'tiny-{{variant}}', collection: Tiny things, channel: {channel}"
        file.write_text(text.replace("publish: {path: ./published}", f"publish: {{{publish}}}"))
