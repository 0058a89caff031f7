"""A family whose artifacts are written by hand: only their facts matter to cards. Publishing needs payloads too."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import do_step
from tests.localhub.cards import check
from variantforge.hashing import text_digest
from variantforge.plan.build import Draft
from variantforge.plan.pin import Resolver
from variantforge.spec.family import FamilySpec, PythonSourceDataset
from variantforge.spec.inherit import in_order, inherit
from variantforge.stages.card.licenses import HUB_LICENSES
from variantforge.stages.card.managed import MANAGED_KEYS, managed
from variantforge.stages.card.stage import STAGE as CARD
from variantforge.stages.publish.stage import STAGE as PUBLISH
from variantforge.stages.stage import Place
from variantforge.step import Artifact, Pin, Step

SPEC: dict[str, Any] = {
    "family": "quick",
    "version": "1.2.0",
    "description": "Two variants of a small model.",
    "base": {"model": "acme/Small-135M", "revision": "main", "license": "apache-2.0"},
    "datasets": {
        "pairs": {"path": "acme/pairs", "format": "prompt_completion", "license": "cc-by-4.0"},
        "stdlib": {"source": "python_source", "packages": ["json", "email"], "license": "psf-2.0"},
        "mine": {"path": "./secret/rows.jsonl", "description": "Questions we were asked."},
    },
    "variants": {
        "code": {
            "kind": "code",
            "description": "Writes functions.",
            "data": {"mix": {"pairs": 0.5, "stdlib": 0.3, "mine": 0.2}},
            "train": {
                "adapter": {"type": "qlora", "r": 8, "alpha": 24, "dropout": 0.05},
                "args": {"learning_rate": 0.00025, "num_train_epochs": 3, "seed": 42},
            },
            "quantize": ["nf4", "gguf:Q4_K_M", "gguf:Q8_0"],
        }
    },
    "evaluate": {"heldout": {"evaluator": "perplexity"}},
    "gates": [{"metric": "heldout.loss", "vs": "base", "better_by": 0.1}],
    "publish": {"namespace": "acme", "repo": "Small-{variant}", "collection": "Small, made ours", "tags": ["small"]},
}

FACTS: dict[str, dict[str, Any]] = {
    "base": {
        "architecture": "LlamaForCausalLM",
        "name": "acme/Small-135M",
        "license": "apache-2.0",
        "parameters": 134515008,
        "template_sha256": "ab" * 32,
    },
    "mix": {
        "train": 5217,
        "heldout": 311,
        "duplicates": 17,
        "by": "examples",
        "sources": {
            "pairs": {"train": 2609, "heldout": 155, "share": 0.5001},
            "stdlib": {"train": 1565, "heldout": 93, "share": 0.29998},
            "mine": {"train": 1043, "heldout": 63, "share": 0.19992},
        },
    },
    "rows": {"rows": 6000, "train": 5800, "heldout": 187, "bad": {"no answer": 13}},
    "train": {
        "steps": 978,
        "epochs": 2.998,
        "tokens": 1234567,
        "supervised_tokens": 765432,
        "loss_first": 2.71828,
        "loss_last": 1.41421,
        "trainable_parameters": 2442240,
        "rows_cut": 3,
        "rows_dropped": 0,
        "args": {"learning_rate": 0.00025, "num_train_epochs": 3, "seed": 42, "max_length": 1024, "save_steps": 0.1},
    },
    "merge": {"kl_mean": 0.000213, "kl_max": 0.00471, "same_top": 0.99713, "prompts": 32, "positions": 4096},
    "nf4": {"format": "nf4", "file": "model", "size_bytes": 113_456_789, "bits_per_weight": 6.7471},
    "gguf:Q4_K_M": {"format": "gguf:Q4_K_M", "file": "model.gguf", "size_bytes": 104_321_987, "bits_per_weight": 6.204},
    "gguf:Q8_0": {"format": "gguf:Q8_0", "file": "model.gguf", "size_bytes": 144_811_808, "bits_per_weight": 8.6123},
}
# What the base's config.json says that a card works with; SmolLM2-135M's own figures.
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 576,
    "max_position_embeddings": 8192,
}
LOSS = {"base": 1.9876, "merged": 1.4321, "nf4": 1.4673, "gguf:Q4_K_M": 1.4519, "gguf:Q8_0": 1.4334}
MORE_FACTS: dict[str, Any] = {}  # what evaluators tell beside their metrics
REFUSED = "fail: heldout.loss 2.034 is 0.0464 worse than base's 1.988 (95 % bounds -0.07 to -0.02, 57 examples)"


def metrics(subject: str) -> dict[str, Any]:
    def measured(value: float, better: str) -> dict[str, Any]:
        return {"value": value, "low": value * 0.97, "high": value * 1.04, "n": 57, "better": better}

    loss = LOSS.get(subject, 1.5)
    found = {"loss": measured(loss, "lower"), "perplexity": measured(2.71828**loss, "lower")}
    if subject not in ("base", "merged"):
        found |= {"kl": measured(loss / 90, "lower"), "same_top": measured(1.33 / loss, "higher")}
    return found


def verdict(refused: bool) -> dict[str, Any]:
    said = {"verdict": "fail", "why": REFUSED} if refused else {"verdict": "pass", "why": "it is 0.5555 better"}
    figures = {"value": 0.5555, "low": 0.4931, "high": 0.6172, "n": 57}
    row = {"metric": "heldout.loss", "vs": "base", "demand": "better by more than 0.1", **figures, **said}
    return {"verdicts": [row], "refusal": REFUSED if refused else ""}


def merged_with(spec: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``changes`` laid over ``spec``, mapping by mapping; None removes a key."""
    laid = dict(spec)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(spec.get(key), dict)
        laid[key] = merged_with(spec[key], value) if both else value
    return {key: value for key, value in laid.items() if value is not None}


Fill = Callable[[Place, Path], None]  # puts a payload into the artifact that stands at a place


@dataclass
class Made:
    """The family at a desk, its upstream artifacts on disk, cards and publications to be done."""

    root: Path
    family: FamilySpec
    refused: frozenset[str] = frozenset()
    fill: Fill = lambda place, folder: None
    data: dict[str, str] = field(default_factory=dict)  # dataset -> what its rows are now
    problems: list[tuple[str, str]] = field(default_factory=list)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        folder = self.root / "project"
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Path(tempfile.mkdtemp(prefix="store-", dir=self.root))
        self.desk = Draft(self.family, folder, Resolver(), lambda key, text: self.problems.append((key, text)))
        for name in in_order(self.family):
            self._lay_out(name)
            for stage in (CARD, PUBLISH):
                stage.plan(self.desk, name, self.family.variants[name])
        for stage in (CARD, PUBLISH):
            stage.plan(self.desk, None, None)

    def _lay_out(self, name: str) -> None:
        variant = self.family.variants[name]
        base_model = variant.base or self.family.base.model
        hub = "/" in base_model and not base_model.startswith((".", "/", "package:"))
        at = f"hub:{base_model}@{'c0ffee' * 6}abcd" if hub else str(self.root / "base.gguf")
        pins = {"model": Pin(f"hub:{at[-40:]}" if hub else "d" * 64, at)}
        base = self._add(Place("base", name), FACTS["base"], pins=pins)
        (base / "model").mkdir(exist_ok=True)
        (base / "model" / "config.json").write_text(json.dumps(CONFIG))
        for dataset in variant.data.mix:
            self._add(Place("data", None, dataset), FACTS["rows"], pins=self._pins_of(dataset))
        sources = dict.fromkeys(variant.data.mix, FACTS["mix"]["sources"]["pairs"])
        own = {key: it for key, it in FACTS["mix"]["sources"].items() if key in sources}
        rows = {dataset: Place("data", None, dataset) for dataset in variant.data.mix}
        self._add(Place("data", name, "mix"), FACTS["mix"] | {"sources": sources | own}, **rows)
        start = Place("merge", variant.from_) if variant.from_ else Place("base", name)
        self._add(Place("train", name), FACTS["train"], base=start, data=Place("data", name, "mix"))
        self._add(Place("merge", name), FACTS["merge"], base=start, adapter=Place("train", name))
        for format in variant.quantize:
            self._add(Place("quantize", name, format), FACTS[format], model=Place("merge", name))
        for subject in ["base", "merged", *variant.quantize]:
            for evaluation in self.family.evaluate:
                facts = {"metrics": metrics(subject), "examples": 57, "tokens": 9999, **MORE_FACTS}
                folder = self._add(Place("evaluate", name, f"{evaluation}:{subject}"), facts)
                rows = [{"id": f"{number:016x}", "nll": 2.5, "tokens": 10, "answer": "words"} for number in range(57)]
                (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            if self.family.gates and subject != "base":
                self._add(Place("gate", name, subject), verdict(f"{name}/{subject}" in self.refused))

    def _pins_of(self, dataset: str) -> dict[str, Pin]:
        """Bytes that are told by the dataset's name and, where ``data`` has it, by what stands there."""
        section = self.family.datasets[dataset]
        if isinstance(section, PythonSourceDataset):
            return {f"package:{it}": Pin(text_digest(it), f"/usr/lib/{it}") for it in section.packages}
        digest = text_digest(f"{dataset} {self.data.get(dataset, '')}")
        if section.path.startswith("."):
            return {"data": Pin(digest, str(self.root / section.path))}
        return {"data": Pin(f"hub:{digest[:40]}", f"hub:{section.path}@{digest[:40]}")}

    def _add(self, place: Place, facts: dict[str, Any], pins: dict[str, Pin] | None = None, **inputs: Place) -> Path:
        keys = {role: self.desk.places[it] for role, it in inputs.items()}
        step = self.desk.add(
            place, Step(place.stage, 1, "by hand", {"place": list(place), "facts": facts}, keys, pins or {})
        )
        folder = self.store / step.stage / step.key
        if step.key not in self.artifacts:
            folder.mkdir(parents=True)
            (folder / "facts.json").write_text(json.dumps(facts, sort_keys=True))
            self.fill(place, folder)
            self.artifacts[step.key] = Artifact(step.key, folder)
        return folder

    def step(self, stage: str, variant: str | None, name: str) -> Step:
        step = self.desk.step(Place(stage, variant, name))
        assert step is not None, f"nothing is laid out at {stage} {variant} {name}"
        return step

    def do(self, stage: str, variant: str | None, name: str, **context: Any) -> Artifact:
        """Does a card or a publication, and the cards it needs first. Done once; ``again`` does it anew."""
        step = self.step(stage, variant, name)
        if step.key not in self.artifacts:
            for key in step.inputs.values():
                if key not in self.artifacts:
                    place = next(place for place, known in self.desk.places.items() if known == key)
                    self.do(*place)
            self.artifacts[step.key] = self.again(step, self.store, **context)
        return self.artifacts[step.key]

    def again(self, step: Step, root: Path, **context: Any) -> Artifact:
        def emit(event: dict[str, Any]) -> None:
            if event["kind"] == "note":
                self.notes.append(event["text"])

        inputs = {role: self.artifacts[key] for role, key in step.inputs.items()}
        return do_step({"card": CARD, "publish": PUBLISH}[step.stage], step, root, inputs, emit=emit, **context)

    def card(self, variant: str, form: str) -> str:
        return checked((self.do("card", variant, form).path / "README.md").read_text())

    def page(self) -> str:
        return checked((self.do("card", None, "family").path / "README.md").read_text())


def checked(text: str) -> str:
    """The page, which everybody who reads pages can read: the client of the Hub, the Hub's own check, and ourselves."""
    from huggingface_hub import ModelCard

    data = ModelCard(text).data
    errors, warnings = check(text)
    assert (errors, warnings) == ([], [])
    assert data.license is None or data.license in HUB_LICENSES
    assert set(data.to_dict()) <= set(MANAGED_KEYS)
    assert managed(text) == text
    return text


def made(root: Path, changes: dict[str, Any] | None = None, **more: Any) -> Made:
    spec = inherit(FamilySpec.model_validate(merged_with(SPEC, changes or {})))
    return Made(root, spec, **more)
