"""What a family file says of rows: where they come from, what is done with them, how much of each is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from variantforge.refs import Ref
from variantforge.spec.section import Section, endpoint_address, metadata


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
        return value if value is None else endpoint_address(value)

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
