"""The form of a family file: pure, frozen data. What a user may write, and nothing that was worked out from it.

Every field changes some step's key, unless it is marked ``metadata``: then it never costs a rebuild of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from variantforge.refs import Ref, unsafe_address

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]


class Section(BaseModel):
    """One block of the file. Unknown keys are errors; nothing is converted behind the user's back."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """What of this section enters a key: every field that is not at its default and not ``metadata``.

        Leaving defaults out lets a new field arrive without moving old keys; a *changed* default
        therefore asks for a new version of the stage that reads it.
        """
        return self.model_dump(mode="json", include=_bytes_depend_on(type(self)), exclude_defaults=True, by_alias=True)


@cache
def _bytes_depend_on(section: type[Section]) -> set[str]:
    return {name for name, field in section.model_fields.items() if not is_metadata(field)}


def is_metadata(field: Any) -> bool:
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("metadata"))


def metadata(default: Any, *, description: str, **kwargs: Any) -> Any:
    """A field that never changes weights or rows."""
    return Field(default, description=description, json_schema_extra={"metadata": True}, **kwargs)


def _base_ref(value: str) -> str:
    if Ref.parse(value).kind == "url":
        raise ValueError("a base is a Hub id, a local path or package:distribution/file: download it and name the file")
    return value


class BaseSpec(Section):
    model: str = Field(description="Hub id (org/name), ./folder, ./file.gguf, or package:distribution/file.gguf")
    revision: str | None = Field(None, description="branch, tag or commit on the Hub")
    license: str = metadata("inherit", description="'inherit' takes it from the base; or an SPDX id such as apache-2.0")
    license_reason: str = metadata("", description="why you may say so, where the base says nothing or another licence")
    name: str | None = metadata(
        None, description="Hub id that cards name as base_model, when model is a file or folder"
    )

    @field_validator("model")
    @classmethod
    def _model_is_a_ref(cls, value: str) -> str:
        return _base_ref(value)

    @field_validator("name")
    @classmethod
    def _name_is_a_hub_id(cls, value: str | None) -> str | None:
        if value is not None and Ref.parse(value).kind != "hub":
            raise ValueError("a Hub id (org/name) is wanted")
        return value


class RowsDataset(Section):
    """Rows from files or the Hub."""

    path: str = Field(description="./file.jsonl|json|csv|parquet (or .gz), ./folder of those, Hub id, or https://…")
    sha256: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="digest of the file's bytes; https:// wants one"
    )
    revision: str | None = Field(None, description="branch, tag or commit on the Hub")
    subset: str | None = Field(None, description="configuration name of a Hub dataset")
    split: str = Field("train", description="split of a Hub dataset")
    format: Literal[
        "auto",
        "messages",
        "sharegpt",
        "alpaca",
        "prompt_completion",
        "text",
        "preference",
        "unpaired_preference",
        "prompt_only",
    ] = Field("auto", description="shape of one row; 'auto' recognises it by its columns")
    columns: dict[str, str] = Field({}, description="field of the format -> column of the file")
    keep: list[str] = Field([], description="further columns of prompts (prompt_only) that rewards read, as 'extra'")
    limit: int | None = Field(None, ge=1, description="keep at most this many rows, chosen by content hash")
    license: str | None = metadata(None, description="SPDX id of the data, shown in cards")
    license_reason: str = metadata("", description="why you may say so, where its own card says nothing or another")
    description: str = metadata("", description="one line for cards")

    @field_validator("path")
    @classmethod
    def _path_is_a_ref(cls, value: str) -> str:
        Ref.parse(value)
        return value


class PythonSourceDataset(Section):
    """Rows mined from real Python code: installed packages or a folder of sources."""

    source: Literal["python_source"] = Field(description="where the rows come from")
    packages: list[str] = Field([], description="importable packages or modules, e.g. json, email")
    folder: str | None = Field(None, description="a folder of .py files, instead of or beside packages")
    task: Literal["write_function", "explain_function"] = Field(
        "write_function", description="signature and docstring -> body, or code -> docstring"
    )
    min_lines: int = Field(2, ge=1, description="shortest function body kept, in lines")
    max_lines: int = Field(40, ge=1, description="longest function body kept, in lines")
    limit: int | None = Field(None, ge=1, description="keep at most this many rows, chosen by content hash")
    license: str | None = metadata(None, description="SPDX id of the code, shown in cards")
    license_reason: str = metadata("", description="why you may say so, where it is a licence that is not known here")
    description: str = metadata("", description="one line for cards")

    @model_validator(mode="after")
    def _has_a_place_to_look(self) -> PythonSourceDataset:
        if not self.packages and not self.folder:
            raise ValueError("name packages or a folder to mine")
        if self.max_lines < self.min_lines:
            raise ValueError("max_lines is below min_lines")
        return self


class TeacherSpec(Section):
    """Who writes answers: a variant, a model, or a model behind an OpenAI-compatible endpoint."""

    variant: str | None = Field(None, description="a variant of this family: its merged weights write")
    model: str | None = Field(
        None, description="Hub id, ./folder, ./file.gguf or package:…gguf; with endpoint, the model's name there"
    )
    endpoint: str | None = Field(None, description="https://host/v1 of an OpenAI-compatible server (http: localhost)")
    license: str | None = metadata(None, description="licence id of what the teacher writes, or of the model")
    license_reason: str = metadata("", description="why you may say so, where the model says nothing or another")
    api_key_env: str | None = metadata(
        None, description="environment variable that holds the endpoint's key", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"
    )

    @field_validator("endpoint")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and (unsafe_address(value) or "?" in value or "#" in value):
            raise ValueError("https://host/v1 is wanted: no name, password, ? or #; http:// for this machine alone")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> TeacherSpec:
        if self.endpoint and not self.model:
            raise ValueError("say which model of the endpoint writes: model: NAME")
        if bool(self.variant) == bool(self.model):
            raise ValueError("one of variant, model, or endpoint with model")
        if self.api_key_env and not self.endpoint:
            raise ValueError("'api_key_env' belongs to an endpoint")
        if self.variant and (self.license or self.license_reason):
            raise ValueError("what a variant of this family is under follows from its base and data: remove 'license'")
        return self


class TeacherDataset(Section):
    """Rows that a teacher writes: its answers to the prompts of another dataset."""

    source: Literal["teacher"] = Field(description="where the rows come from")
    prompts: str = Field(description="the dataset whose prompts are answered")
    teacher: TeacherSpec = Field(description="who answers: {variant: NAME}, {model: REF}, {endpoint: URL, model: NAME}")
    system: str | None = Field(None, description="put before every prompt that has no system message, and kept in rows")
    samples: int = Field(1, ge=1, le=64, description="answers to each prompt")
    max_tokens: int = Field(512, ge=1, description="longer answers are cut off there, and dropped")
    temperature: float = Field(0.7, ge=0, le=2, description="0: always the likeliest token")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling")
    seed: int = Field(0, ge=0, lt=1 << 31, description="of the first sample; another seed asks anew")
    limit: int | None = Field(None, ge=1, description="ask at most this many prompts, chosen by content hash")
    requests_per_minute: float | None = metadata(None, description="ask an endpoint no faster", gt=0)
    concurrency: int = metadata(4, description="questions under way at an endpoint", ge=1, le=256)
    timeout_s: float = metadata(120.0, description="how long an answer of an endpoint may take", gt=0)
    license: str | None = metadata(None, description="SPDX id of the prompts, shown in cards")
    license_reason: str = metadata("", description="why you may say so")
    description: str = metadata("", description="one line for cards")

    @model_validator(mode="after")
    def _samples_differ(self) -> TeacherDataset:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("at temperature 0 all samples are equal: samples: 1, or a higher temperature")
        return self


def dataset_form(value: Any) -> str:
    """Which form a dataset is meant in: 'rows', 'source' or 'teacher'."""
    source = value.get("source", ...) if isinstance(value, Mapping) else getattr(value, "source", ...)
    return "rows" if source is ... else "teacher" if source == "teacher" else "source"


DatasetSpec = Annotated[
    Annotated[RowsDataset, Tag("rows")]
    | Annotated[PythonSourceDataset, Tag("source")]
    | Annotated[TeacherDataset, Tag("teacher")],
    Discriminator(dataset_form),
]
DATASET_FORMS: dict[str, type[Section]] = {
    "rows": RowsDataset,
    "source": PythonSourceDataset,
    "teacher": TeacherDataset,
}


class DeduplicateSpec(Section):
    exact: bool = Field(True, description="drop rows whose text is equal, across all sources of a variant")
    near: float | None = Field(
        None, ge=0.5, le=1.0, description="drop rows that share this much of their word 5-grams too, e.g. 0.85"
    )

    @model_validator(mode="after")
    def _near_is_more_than_exact(self) -> DeduplicateSpec:
        if self.near is not None and not self.exact:
            raise ValueError("'near' drops equal rows too: leave 'exact' at true, or remove 'near'")
        return self


class DecontaminateSpec(Section):
    """Training rows that hold what the family is measured on: suites under 'evaluate', and what 'against' names."""

    ngram: int = Field(13, ge=8, le=50, description="so many words in a row that a suite's item has too are a hit")
    code: bool = Field(True, description="so is a function that differs in names, comments and layout only")
    against: list[str] = Field([], description="further suites: ./file.jsonl, package:dist/file, or names of datasets")
    on_hit: Literal["drop", "error", "report"] = Field("drop", description="what is done with rows that hit")
    max_share: float | None = Field(
        None, ge=0, le=1, description="stop when more of a suite's items than this are found in the rows"
    )


class DataPolicySpec(Section):
    deduplicate: DeduplicateSpec = Field(DeduplicateSpec(), description="which rows count as the same")
    on_bad_row: Literal["error", "skip"] = Field("error", description="stop at a bad row, or count and report it")
    decontaminate: DecontaminateSpec | None = Field(
        None, description="look for what is measured in what is trained on, for example {ngram: 13}"
    )
    on_special_tokens: Literal["error", "skip", "keep"] = Field(
        "error", description="rows with the base's control tokens in their text: refuse to train, leave out, or train"
    )
    on_secrets: Literal["report", "skip", "error"] = Field(
        "report", description="rows with what looks like a key or a token: tell, leave out, or stop"
    )
    on_broken_unicode: Literal["report", "skip", "error"] = Field(
        "report", description="rows with U+FFFD, mojibake, control or invisible characters: tell, leave out, or stop"
    )


LORA_FAMILY = ("lora", "qlora", "dora", "rslora", "pissa")


class AdapterSpec(Section):
    """What is trained. ``r``, ``alpha`` and ``dropout`` are LoRA's; other types take their fields under ``args``."""

    type: str = Field("lora", description="lora, qlora, dora, rslora, pissa, full (all weights), or a type of PEFT's")
    r: int = Field(16, ge=1, description="rank, of the LoRA family")
    alpha: int = Field(32, ge=1, description="lora_alpha: the update is scaled by alpha / r")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="lora_dropout")
    target_modules: str | list[str] = Field("all-linear", description="PEFT's target_modules")
    exclude_modules: str | list[str] | None = Field(None, description="PEFT's exclude_modules")
    target_parameters: str | list[str] = Field(
        [], description="PEFT's target_parameters, for experts stored as one tensor; or all-experts"
    )
    modules_to_save: list[str] = Field([], description="trained in full beside the adapter, e.g. embed_tokens")
    experts: Literal["trained", "frozen"] = Field(
        "trained", description="'frozen' says that experts which no target names may stay as they are"
    )
    quantize_base: Literal["nf4"] | None = Field(None, description="train over the base in NF4, as qlora does")
    args: dict[str, Any] = Field({}, description="further fields of the type's config class in PEFT")

    @property
    def is_lora(self) -> bool:
        """Whether PEFT's LoraConfig is what trains it."""
        return self.type in LORA_FAMILY

    @property
    def config_type(self) -> str:
        """The type that PEFT trains it as: the name of the tuner whose config class holds its fields."""
        return "lora" if self.is_lora else self.type

    @property
    def over_nf4(self) -> bool:
        return self.type == "qlora" or self.quantize_base == "nf4"

    @property
    def over_float32(self) -> bool:
        """Whether the base is held in float32: all of it is trained, or updates are computed from its own weights, and
        what bf16 cuts off would be a part of them."""
        return not self.over_nf4 and (not self.is_lora or self.rewrites_base)

    @property
    def init(self) -> Any:
        """PEFT's init_lora_weights."""
        return self.init_of(self.type, self.args)

    @property
    def rewrites_base(self) -> bool:
        """Whether its matrices start as a part of the base's weights, which is taken out of them while training."""
        return self.is_lora and self.rewrites(self.init)

    @staticmethod
    def init_of(type: str, args: Mapping[str, Any]) -> Any:
        return args.get("init_lora_weights", "pissa" if type == "pissa" else True)

    @staticmethod
    def rewrites(init: Any) -> bool:
        return isinstance(init, str) and init.startswith(("pissa", "olora"))


class RewardSpec(BaseModel):
    """Which reward, and its own parameters; those are checked by the reward's ``Params`` while planning."""

    model_config = ConfigDict(extra="allow", frozen=True)
    reward: str = Field(description="a row of REWARDS, e.g. exact_answer")
    weight: Annotated[float, Field(strict=True, allow_inf_nan=False)] = Field(
        1.0, description="what the reward counts for among all rewards of a variant"
    )

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class TrainSpec(Section):
    method: str = Field("sft", description="training method: a row of METHODS")
    adapter: AdapterSpec = Field(AdapterSpec(), description="what is trained: a LoRA adapter, or all weights")
    args: dict[str, Any] = Field({}, description="arguments of the method's TRL config class (SFTConfig for sft)")
    teacher: str | None = Field(
        None, description="whom to learn from (distill): a variant, or a model as base.model names one"
    )
    answers: Literal["student", "rows"] = Field(
        "student", description="what the teacher is asked about (distill): the student's own answers, or the rows'"
    )
    rewards: list[RewardSpec] = Field([], description="what answers are worth (grpo), e.g. [{reward: exact_answer}]")
    on_spike: Literal["stop", "note"] = metadata("stop", description="what to do when the loss leaves its range")


class MixSpec(Section):
    """What a variant learns from: ``mix`` says shares, ``epochs`` how often each source is read. One of the two."""

    mix: dict[str, float] = Field({}, description="dataset -> weight; weights are shares, they need not sum to one")
    epochs: dict[str, Annotated[float, Field(ge=0, le=100)]] = Field(
        {}, description="dataset -> how often it is read, e.g. {chat: 2, replay: 0.5}; instead of mix"
    )
    by: Literal["examples", "tokens"] = Field("examples", description="what the shares of a mix count")
    stopping_strategy: Literal["first_exhausted", "all_exhausted"] = Field(
        "first_exhausted", description="stop when one source runs out, or repeat sources until all were seen once"
    )
    seed: int = Field(0, ge=0, description="order of the mixed rows")

    @model_validator(mode="after")
    def _mix_or_epochs(self) -> MixSpec:
        said = self.model_fields_set
        if "mix" not in said and "epochs" not in said:
            raise ValueError("say which datasets: mix: {name: weight}, or epochs: {name: times}")
        if "mix" in said and "epochs" in said:
            raise ValueError("'mix' and 'epochs' are both set: one of them says how much of each dataset is taken")
        for name in ("by", "stopping_strategy"):
            if "epochs" in said and name in said:
                raise ValueError(f"'{name}' belongs to mix; with epochs each dataset is read as often as it says")
        return self

    @property
    def sources(self) -> dict[str, float]:
        """The datasets that give rows, in the order of the file, each with its weight or its epochs."""
        return {name: amount for name, amount in {**self.mix, **self.epochs}.items() if amount > 0}


class FsdpSpec(Section):
    """transformers' ``fsdp_config``, of FSDP2: weights lie in shards over the processes."""

    reshard_after_forward: bool = Field(True, description="give gathered weights back after each layer's forward")
    cpu_offload: bool = Field(False, description="keep shards in the CPU's memory")
    activation_checkpointing: bool = Field(False, description="compute activations again in the backward pass")
    auto_wrap_policy: Literal["TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP"] = Field(
        "TRANSFORMER_BASED_WRAP", description="what is sharded as one unit"
    )
    transformer_layer_cls_to_wrap: list[str] = Field([], description="classes of layers, where they are not found")
    min_num_params: int = Field(0, ge=0, description="of a unit, with SIZE_BASED_WRAP")

    @property
    def config(self) -> dict[str, Any]:
        """As transformers takes it."""
        return {"version": 2, **self.model_dump(mode="json", exclude_defaults=True)}


class AccelerateSpec(Section):
    """How processes work together, in accelerate's words."""

    fsdp: FsdpSpec | None = Field(None, description="shard the weights (FSDP2), e.g. {}; without it each has all (DDP)")
    machines: int = Field(1, ge=1, description="over how many machines the processes are spread")
    machine_rank: int = Field(0, ge=0, description="which of the machines this is: 0 is the main one")
    main_process_ip: str | None = Field(None, description="address of the main machine")
    main_process_port: int | None = Field(None, ge=1, le=65535, description="free port of the main machine")

    @model_validator(mode="after")
    def _machines_find_each_other(self) -> AccelerateSpec:
        if self.machines > 1 and (self.main_process_ip is None or self.main_process_port is None):
            raise ValueError("machines find each other by main_process_ip and main_process_port: set both")
        if self.machine_rank >= self.machines:
            raise ValueError(f"machine_rank counts from 0: the last of {self.machines} is {self.machines - 1}")
        return self


class ResourcesSpec(Section):
    """What a variant's steps may take. Never changes what is made."""

    processes: int = metadata(
        1, description="processes that share a training, on all machines together; the global batch stays", ge=1
    )
    accelerate: AccelerateSpec = metadata(
        AccelerateSpec(), description="how the processes work together, e.g. {fsdp: {}}"
    )

    max_memory_gb: float | None = metadata(
        None, description="refuse a training that is predicted to need more, in GB (10^9 bytes)", gt=0
    )


class VariantSpec(Section):
    kind: Literal["instruct", "code", "domain"] = Field(description="what it is for")
    description: str = metadata("", description="one or two sentences for the card")
    base: str | None = Field(None, description="another base than the family's")
    from_: str | None = Field(None, alias="from", description="start from this variant's merged weights")
    data: MixSpec = Field(description="what it learns from, for example {mix: {pairs: 1.0}}")
    train: TrainSpec = Field(TrainSpec(), description="how it is trained, over what 'defaults' say")
    quantize: list[str] = Field([], description="formats: nf4, gguf:Q4_K_M, ...")
    resources: ResourcesSpec = metadata(
        ResourcesSpec(), description="what its steps may take, over what 'defaults' say"
    )

    @field_validator("base")
    @classmethod
    def _base_is_a_ref(cls, value: str | None) -> str | None:
        return value if value is None else _base_ref(value)


class DefaultsSpec(Section):
    """Merged under every variant; see ``inherit``."""

    train: TrainSpec = Field(TrainSpec(), description="how variants are trained, key by key")
    quantize: list[str] = Field([], description="formats of every variant that names none itself")
    resources: ResourcesSpec = metadata(ResourcesSpec(), description="what steps may take, key by key")


class EvaluatorSpec(BaseModel):
    """Which evaluator, and its own parameters; those are checked by the evaluator's ``Params`` while planning."""

    model_config = ConfigDict(extra="allow", frozen=True)
    evaluator: str = Field(description="a row of EVALUATORS, e.g. perplexity")

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class GateSpec(Section):
    """One demand on one metric. Exactly one of the four bounds is set."""

    metric: str = Field(description="<name under evaluate>.<metric>, e.g. heldout.loss")
    on: list[str] = Field([], description="what it applies to: merged, nf4, gguf:Q4_K_M, gguf:*; everything by default")
    vs: Literal["base", "merged"] | None = Field(None, description="compare with the base or the merged model")
    better_by: float | None = Field(None, description="the interval's bound must be better by more than this")
    worse_by_at_most: float | None = Field(None, ge=0, description="the interval's bound may be worse by this")
    at_most: float | None = Field(None, description="the interval's upper bound may be this")
    at_least: float | None = Field(None, description="the interval's lower bound must be this")

    @model_validator(mode="after")
    def _one_bound(self) -> GateSpec:
        relative = [name for name in ("better_by", "worse_by_at_most") if getattr(self, name) is not None]
        absolute = [name for name in ("at_most", "at_least") if getattr(self, name) is not None]
        if len(relative) + len(absolute) != 1:
            raise ValueError("write exactly one of better_by, worse_by_at_most, at_most, at_least")
        if relative and self.vs is None:
            raise ValueError(f"{relative[0]} compares: say with what (vs: base | merged)")
        if absolute and self.vs is not None:
            raise ValueError(f"{absolute[0]} is a fixed figure and takes no 'vs'")
        return self


Form = Literal["merged", "adapter", "gguf", "nf4"]


class PublishSpec(Section):
    to: str = Field("folder", description="a row of PUBLISHERS")
    path: str = Field("./published", description="the folder to publish into, relative to the family file")
    namespace: str = Field("local", pattern=r"^[A-Za-z0-9][\w.-]*$", description="user or organisation on the Hub")
    repo: str = Field("{family}-{variant}", description="name of a repo; {family} and {variant} are filled in")
    artifacts: list[Form] = Field(["merged", "adapter", "gguf", "nf4"], description="what to publish of each variant")
    collection: str | None = Field(None, description="title of the page that links the family")
    index: str = metadata(
        "{family}",
        description="repo on the Hub that holds the family page and release.json; {family} is filled in",
        pattern=r"^[A-Za-z0-9]*(\{family\})?[A-Za-z0-9._-]*$",
        min_length=1,
        max_length=96,
    )
    channel: Literal["stable", "candidate"] = metadata(
        "stable", description="where a release on the Hub becomes visible: branch main, or branch candidate"
    )
    visibility: Literal["public", "private"] = metadata("public", description="who sees the repos on the Hub")
    gated: Literal["no", "auto", "manual"] = metadata(
        "no", description="whether people must ask for access on the Hub, and who grants it"
    )
    license: str | None = metadata(None, description="what the models go out under; the base's licence by default")
    license_reason: str = metadata(
        "", description="why that licence may be chosen although share-alike or no-derivatives data is in it"
    )
    excluded_territories: list[Literal["EU", "UK", "KR", "US"]] = metadata(
        [], description="whose people get no access, where a base's licence ends there; wants gated: manual"
    )
    language: list[str] = Field(["en"], description="language codes for cards")
    tags: list[str] = Field([], description="further tags for cards")

    @field_validator("repo")
    @classmethod
    def _names_the_variant(cls, value: str) -> str:
        # never str.format on what was not looked at: '{variant:>2000000000}' is a valid format
        fixed = value.replace("{family}", "").replace("{variant}", "")
        if "{" in fixed or "}" in fixed:
            raise ValueError("only {family} and {variant} can be filled in")
        if not all(character.isascii() and (character.isalnum() or character in "._-") for character in fixed):
            raise ValueError("letters, digits, '.', '_' and '-' only, beside {family} and {variant}")
        return value


class FamilySpec(Section):
    """A whole family file."""

    family: Name = Field(description="the family's name")
    version: str = Field("0.1.0", pattern=r"^\d+\.\d+\.\d+([-+][\w.]+)?$", description="semantic version")
    description: str = metadata("", description="one or two sentences for the family page")
    base: BaseSpec = Field(description="the model that all variants start from, for example {model: org/name}")
    datasets: dict[Name, DatasetSpec] = Field({}, description="rows, named once and used by variants")
    data_policy: DataPolicySpec = Field(DataPolicySpec(), description="what is done with rows before they are mixed")
    defaults: DefaultsSpec = Field(DefaultsSpec(), description="what holds for every variant that says nothing else")
    variants: dict[Name, VariantSpec] = Field(min_length=1, description="what is made of the base, by name")
    evaluate: dict[Name, EvaluatorSpec] = Field({}, description="what is measured, by name")
    gates: list[GateSpec] = Field([], description="what must hold before anything is published")
    publish: PublishSpec = Field(PublishSpec(), description="where it is published, and as what")

    @property
    def datasets_read(self) -> set[str]:
        """Names of datasets whose rows some step reads: to train on, to ask a teacher, or to keep training clean of."""
        trained = {name for variant in self.variants.values() for name in variant.data.sources}
        suites = self.data_policy.decontaminate
        read = trained | {name for name in (suites.against if suites else ()) if name in self.datasets}
        waiting = list(read)
        while waiting:
            section = self.datasets.get(waiting.pop())
            if isinstance(section, TeacherDataset) and section.prompts not in read:
                read.add(section.prompts)
                waiting.append(section.prompts)
        return read
