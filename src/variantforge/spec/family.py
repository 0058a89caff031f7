"""The form of a family file: pure, frozen data. What a user may write, and nothing that was worked out from it.

Every field changes some step's key, unless it is marked ``metadata``: then it never costs a rebuild of weights. The
larger sections have files of their own: ``data``, ``train``, ``publish``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from variantforge.refs import Ref
from variantforge.spec.data import (
    DATASET_FORMS,
    DataPolicySpec,
    DatasetSpec,
    DecontaminateSpec,
    DeduplicateSpec,
    MixSpec,
    PythonSourceDataset,
    RowsDataset,
    TeacherDataset,
    TeacherSpec,
    dataset_form,
)
from variantforge.spec.gates import GateSpec
from variantforge.spec.parity import OFF, PARITY, is_implied
from variantforge.spec.publish import Form, PublishSpec
from variantforge.spec.quantize import CalibrationSpec
from variantforge.spec.section import Name, Section, base_ref, is_metadata, metadata
from variantforge.spec.train import (
    LORA_FAMILY,
    AccelerateSpec,
    AdapterSpec,
    FsdpSpec,
    ResourcesSpec,
    RewardSpec,
    TrainSpec,
)


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
        return base_ref(value)

    @field_validator("name")
    @classmethod
    def _name_is_a_hub_id(cls, value: str | None) -> str | None:
        if value is not None and Ref.parse(value).kind != "hub":
            raise ValueError("a Hub id (org/name) is wanted")
        return value


class VariantSpec(Section):
    kind: Literal["instruct", "code", "domain"] = Field(description="what it is for")
    description: str = metadata("", description="one or two sentences for the card")
    base: str | None = Field(None, description="another base than the family's")
    from_: str | None = Field(None, alias="from", description="start from this variant's merged weights")
    data: MixSpec = Field(description="what it learns from, for example {mix: {pairs: 1.0}}")
    train: TrainSpec = Field(TrainSpec(), description="how it is trained, over what 'defaults' say")
    quantize: list[str] = Field([], description="formats: nf4, gguf:Q4_K_M, ...")
    calibration: CalibrationSpec | None = Field(
        None, description="text that shows quantizers which weights matter, over what 'defaults' say"
    )
    resources: ResourcesSpec = metadata(
        ResourcesSpec(), description="what its steps may take, over what 'defaults' say"
    )

    @field_validator("base")
    @classmethod
    def _base_is_a_ref(cls, value: str | None) -> str | None:
        return value if value is None else base_ref(value)


class DefaultsSpec(Section):
    """Merged under every variant; see ``inherit``."""

    train: TrainSpec = Field(TrainSpec(), description="how variants are trained, key by key")
    quantize: list[str] = Field([], description="formats of every variant that names none itself")
    calibration: CalibrationSpec | None = Field(
        None, description="text that shows quantizers which weights matter, key by key"
    )
    resources: ResourcesSpec = metadata(ResourcesSpec(), description="what steps may take, key by key")


class EvaluatorSpec(BaseModel):
    """Which evaluator, and its own parameters; those are checked by the evaluator's ``Params`` while planning. The text
    ``off`` says that there is to be none."""

    model_config = ConfigDict(
        extra="allow", frozen=True, json_schema_extra={"type": ["object", "string"], "pattern": "^off$"}
    )
    evaluator: str = Field(description="a row of EVALUATORS, e.g. perplexity")

    @model_validator(mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return {"evaluator": OFF} if value == OFF else value

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


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

    def with_parity(self) -> FamilySpec:
        """The family with the evaluations that it has: ``parity`` where nothing is said of it, and none that is off."""
        asked = {name: one for name, one in self.evaluate.items() if one.evaluator != OFF}
        if is_implied(self.evaluate):
            asked[PARITY] = EvaluatorSpec(evaluator=PARITY)
        return self if asked == self.evaluate else self.model_copy(update={"evaluate": asked})

    @property
    def datasets_read(self) -> set[str]:
        """Names of datasets whose rows some step reads: to train on, to calibrate with, to ask a teacher, or to keep
        training clean of."""
        trained = {name for variant in self.variants.values() for name in variant.data.sources}
        sections = (self.defaults.calibration, *(variant.calibration for variant in self.variants.values()))
        calibrated = {name for section in sections if section for name in section.datasets}
        suites = self.data_policy.decontaminate
        read = trained | calibrated | {name for name in (suites.against if suites else ()) if name in self.datasets}
        waiting = list(read)
        while waiting:
            section = self.datasets.get(waiting.pop())
            if isinstance(section, TeacherDataset) and section.prompts not in read:
                read.add(section.prompts)
                waiting.append(section.prompts)
        return read


__all__ = [
    "DATASET_FORMS",
    "LORA_FAMILY",
    "AccelerateSpec",
    "AdapterSpec",
    "BaseSpec",
    "CalibrationSpec",
    "DataPolicySpec",
    "DatasetSpec",
    "DecontaminateSpec",
    "DeduplicateSpec",
    "DefaultsSpec",
    "EvaluatorSpec",
    "FamilySpec",
    "Form",
    "FsdpSpec",
    "GateSpec",
    "MixSpec",
    "Name",
    "PublishSpec",
    "PythonSourceDataset",
    "ResourcesSpec",
    "RewardSpec",
    "RowsDataset",
    "Section",
    "TeacherDataset",
    "TeacherSpec",
    "TrainSpec",
    "VariantSpec",
    "dataset_form",
    "is_metadata",
    "metadata",
]
