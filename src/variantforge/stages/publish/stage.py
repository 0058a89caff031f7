"""Publishing: each repo whole, then the family page. Where to, a publisher knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from variantforge.fsops import write_json
from variantforge.hashing import text_digest
from variantforge.spec.forms import FORMS
from variantforge.stages.card.repos import PAGE, Repo, formats_of, forms_of, gguf_file, lora_files, repo
from variantforge.stages.publish import PUBLISHERS
from variantforge.stages.publish.outcomes import outcome_inputs, outcome_texts
from variantforge.stages.publish.pins import named, pins_beneath
from variantforge.stages.publish.release import (
    MANIFEST,
    Content,
    Contents,
    Digest,
    adapter_config,
    digest_of,
    manifest_text,
)
from variantforge.stages.stage import Desk, Place
from variantforge.step import Artifact, Step, StepContext

if TYPE_CHECKING:
    from variantforge.spec.family import VariantSpec


class Publisher(Protocol):
    """Brings finished repos to one kind of place. ``at_key`` is the key of the file that says where."""

    at_key: str

    def hints(self, desk: Desk) -> Mapping[str, Any]:
        """Where this family goes: kept in the step's hints, since it changes no byte."""

    def family_params(self, desk: Desk) -> Mapping[str, Any]:
        """What the family's own step has to know beside the family's name and version."""

    def looks_at(self, step: Step) -> Iterable[str]:
        """The paths (a folder stands for the names in it) on which the answer of ``problem`` rests."""

    def problem(self, step: Step) -> str:
        """What stands in the way already now, as a sentence, or ''. Asked while planning; reads little."""

    def publish_repo(self, context: StepContext, files: Mapping[str, Content], digests: Mapping[str, Digest]) -> None:
        """Makes ``files`` the repo's whole content, ``variantforge.json`` last. Raises PublishError."""

    def publish_page(
        self, context: StepContext, page: str, facts: Mapping[str, Any], outcomes: Mapping[str, str]
    ) -> dict[str, Any]:
        """Writes the family page, and beside it the per-item ``outcomes`` (file name -> text); returns facts: at least
        ``repo`` (None: it has none) and ``files`` with digests."""

    def stale(self, step: Step, artifact: Artifact) -> str:
        """How the published state differs from the release, naming the file, or ''."""


class Publish:
    """A repo whose card was refused is not reached: the runner stops at the card."""

    name = "publish"
    version = 2
    heavy = False
    takes_refused = False

    def plan(self, desk: Desk, name: str | None, variant: VariantSpec | None) -> None:
        to = desk.family.publish.to
        if to not in PUBLISHERS:
            desk.problem("publish.to", PUBLISHERS.unknown(to))
            return
        publisher = PUBLISHERS.load(to)()
        for place, params, inputs, pins in self._wanted(desk, name, variant):
            if name is None:
                params = {**params, **publisher.family_params(desk)}
            step = Step(self.name, self.version, to, params, inputs, hints={**publisher.hints(desk), **pins})
            for path in publisher.looks_at(step):
                desk.look(path)
            if problem := publisher.problem(step):
                desk.problem(publisher.at_key, problem)
            desk.add(place, step)

    def _wanted(
        self, desk: Desk, name: str | None, variant: VariantSpec | None
    ) -> Iterator[tuple[Place, dict[str, Any], dict[str, str], dict[str, Any]]]:
        """Place, params, inputs, and the pins beneath as hints: the inputs' keys hold those already.

        The family's page hangs on all cards, not on the publications: refused repos must not keep it back.

        The version is the page's alone: a release in which a repo is as before leaves that repo's bytes as they are.
        """
        family = desk.family
        words = {"family": family.family, "variant": name}
        if name is None or variant is None:
            if card := desk.step(Place("card", None, "family")):
                yield (
                    Place(self.name, None, "family"),
                    words | {"version": family.version, "form": "family"},
                    {"card": card.key, **outcome_inputs(desk)},
                    {},
                )
            return
        for form in forms_of(family, variant):
            this = repo(family, name, form)
            payload = _payload(this, variant, lora_files(family, name))
            needed = {role: step for role, place in payload.items() if (step := desk.step(place))}
            if len(needed) == len(payload):
                inputs = {role: step.key for role, step in needed.items()}
                card = needed.pop("card")
                pins = {"pins": named(pins_beneath(desk, needed), card.params)}
                if legal := desk.step(Place("base", name, "legal")):
                    inputs["legal"] = legal.key
                files = {
                    format: gguf_file(family, name, format)
                    for format in formats_of(variant, form)
                    if FORMS[form].holds == "files"
                }
                if form == "adapter":
                    files |= lora_files(family, name)
                params = words | {"form": form, "repo": this.id, "files": files, **_revision(desk, this)}
                yield Place(self.name, name, form), params, inputs, pins

    def do(self, context: StepContext) -> None:
        publisher, card = PUBLISHERS.load(context.step.method)(), context.inputs["card"]
        if context.step.params["form"] == "family":
            outcomes = outcome_texts(context, card.facts)
            page = publisher.publish_page(context, (card.path / PAGE).read_text(), card.facts, outcomes)
            release = {"withheld": {}, **page}
        else:
            contents = contents_of(context)
            digests = {name: digest_of(content) for name, content in sorted(contents.files.items())}
            manifest = manifest_text(context.step, digests, card.facts)
            publisher.publish_repo(context, {**contents.files, MANIFEST: manifest}, digests)
            files = digests | {MANIFEST: {"sha256": text_digest(manifest), "size_bytes": len(manifest.encode())}}
            release = {"repo": context.step.params["repo"], "files": files, "withheld": card.facts["withheld"]}
        write_json(context.out / "release.json", release)
        context.write_facts(release)

    def stale(self, step: Step, artifact: Artifact) -> str:
        return PUBLISHERS.load(step.method)().stale(step, artifact)


def _payload(this: Repo, variant: VariantSpec, lora: Iterable[str]) -> dict[str, Place]:
    """Role -> where the bytes come from. ``lora``: formats of the adapter as GGUF."""
    name, card = this.variant, {"card": Place("card", this.variant, this.form)}
    if FORMS[this.form].quantized:
        return card | {format: Place("quantize", name, format) for format in formats_of(variant, this.form)}
    if this.form == "adapter":  # the merged model's folder lends tokenizer and chat template
        files = {format: Place("quantize", name, format) for format in lora}
        return card | {"adapter": Place("train", name), "model": Place("merge", name)} | files
    return card | {"model": Place("merge", name)}


def _revision(desk: Desk, this: Repo) -> dict[str, str]:
    """The commit of a Hub base, for adapters: they mean these weights and no later ones."""
    card = desk.step(Place("card", this.variant, this.form))
    told = card.params["base"] if card and this.form == "adapter" and not card.params["parent"] else {}
    return {"base_revision": told["revision"]} if told.get("revision") else {}


def contents_of(context: StepContext) -> Contents:
    """Everything of one repo but its manifest."""
    from variantforge.stages.card.benchmarks import FOLDER
    from variantforge.stages.publish.legal import legal_texts

    params, inputs, contents = context.step.params, context.inputs, Contents()
    card = inputs["card"]
    for path in [card.path / PAGE, *sorted((card.path / FOLDER).glob("*.yaml"))]:
        contents.files[path.relative_to(card.path).as_posix()] = path
    match FORMS[form := params["form"]].holds:
        case "folder":
            contents.add_folder(inputs["model" if form == "merged" else form].path / "model")
        case "adapter":
            contents.add_folder(inputs["model"].path / "model", _is_of_tokenizer)
            contents.add_folder(inputs["adapter"].path / "adapter", lambda name: name != PAGE)
            config = (inputs["adapter"].path / "adapter" / "adapter_config.json").read_text()
            base = card.facts["base_model"]
            contents.files["adapter_config.json"] = adapter_config(config, base, params.get("base_revision", ""))
            contents.files |= {name: inputs[format].path / "model.gguf" for format, name in params["files"].items()}
        case "files":
            for format, name in params["files"].items():
                if name not in card.facts["withheld"]:
                    contents.files[name] = inputs[format].path / "model.gguf"
    contents.files |= legal_texts(context)
    if contents.left:
        context.note(f"not published, since no part of a model: {', '.join(contents.left)}")
    return contents


def _is_of_tokenizer(name: str) -> bool:
    return name.startswith(("tokenizer", "special_tokens", "added_tokens", "vocab", "merges", "chat_template"))


STAGE = Publish()
