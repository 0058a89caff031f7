"""What a family file says of training: method, adapter, arguments, and what may be spent on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from variantforge.spec.section import Section, metadata

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
