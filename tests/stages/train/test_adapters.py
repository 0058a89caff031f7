"""Adapters of every type, through the true pipeline: trained on a tiny model, saved, folded, read back, compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stages.test_merge import loud, merge
from tests.stages.train.conftest import one_thread  # noqa: F401
from tests.stages.train.lab import Lab
from tests.tiny_mixtures import tiny_mixture
from variantforge.errors import EmptyAdapter, ExpertsUntrained, MergeError, TrainError, UnmatchedTargets, WrongBase
from variantforge.spec.adapter_types import FULL, LORA_FAMILY, known_types
from variantforge.stages.train.adapters import prove_adapter, saving
from variantforge.step import Artifact

HARD = {"learning_rate": 2e-2, "max_steps": 3, "gradient_accumulation_steps": 1, "packing": False}

# What a type wants on a model as small as this one, beside its name; the rest takes PEFT's own defaults.
SMALL: dict[str, dict[str, Any]] = {
    "c3a": {"args": {"block_size": 32}},
    "road": {"args": {"group_size": 32}},
    "shira": {"args": {"r": 4}},
    "vblora": {"args": {"vector_length": 32, "num_vectors": 64, "topk": 2}},
    "waveft": {"args": {"n_frequency": 100}},
    "trainable_tokens": {"args": {"token_indices": [2, 5, 9]}},
    "lokr": {"args": {"r": 4}},
    "oft": {"args": {"oft_block_size": 8}},
    "boft": {"args": {"boft_block_size": 4}},
    "fourierft": {"args": {"scaling": 10.0}},
}
# A few numbers beside frozen random matrices move a model of this size only when they move far.
RATES = {"pvera": 0.5, "vera": 0.5, "unilora": 0.2, "ia3": 0.1}
UNFIT = {
    "beft": "trains biases, which this model has none of",
    "adamss": "wants scikit-learn",
    "trainable_tokens": "trains rows of an embedding that is tied to the head",
}
FAST = ("dora", "pissa", "ia3")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Lab:
    root = tmp_path_factory.mktemp("adapters")
    return Lab(root, loud(tiny_llama, root / "llama"))


@pytest.fixture(scope="module")
def plain(lab: Lab) -> Artifact:
    return lab.train(lab.step({"r": 4}, **HARD), "plain")


def made(lab: Lab, adapter: dict[str, Any], place: str, **args: Any) -> tuple[Artifact, Artifact]:
    trained = lab.train(lab.step(adapter, **{**HARD, **args}), place)
    return trained, merge(lab, trained, f"{place}-merged")


OTHERS = [name for name in known_types() if name not in (*FAST, *UNFIT, FULL, "lora", "qlora")]


@pytest.mark.parametrize("type", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_every_type_is_trained_and_merged(lab: Lab, type: str) -> None:
    trained, merged = made(lab, {"type": type, **SMALL.get(type, {})}, type, learning_rate=RATES.get(type, 2e-2))
    facts = merged.facts
    assert facts["kl_mean"] < 5e-4
    assert facts["kl_mean"] * 20 < facts["kl_of_training"]
    assert facts["witness"]["kl"] * 5 < facts["witness"]["kl_of_training"]
    config = json.loads((trained.path / "adapter" / "adapter_config.json").read_text())
    assert config["peft_type"] == ("LORA" if type in LORA_FAMILY else type.upper())
    assert config["base_model_name_or_path"] == "tiny/base"
    assert str(lab.root) not in json.dumps(config)


# --- mixtures of experts ------------------------------------------------------------------------------------------

MIXTURES = ("mixtral", "qwen3_moe", "gpt_oss")
WITH_EXPERTS = {"r": 4, "target_parameters": "all-experts"}


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Lab]:
    """Made when asked for: see ``mixture``."""
    return {}


@pytest.fixture
def mixture(mixtures: dict[str, Lab], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Lab:
    arch = request.param
    if arch not in mixtures:
        root = tmp_path_factory.mktemp(arch)
        mixtures[arch] = Lab(root, loud(tiny_mixture(root / "made", arch, small=True), root / "model"))
    return mixtures[arch]


@pytest.mark.parametrize("mixture", ["gpt_oss", pytest.param("mixtral", marks=pytest.mark.slow)], indirect=True)
def test_experts_that_no_target_reaches_are_not_forgotten_in_silence(mixture: Lab) -> None:
    with pytest.raises(ExpertsUntrained, match="none of the experts of this model would be trained: 4 of 4"):
        mixture.train(mixture.step({"target_modules": ["q_proj", "v_proj"]}))
    with pytest.raises(ExpertsUntrained, match="only some of the experts of this model would be trained: 2 of 4"):
        mixture.train(
            mixture.step({"target_modules": ["q_proj", "v_proj"], "target_parameters": ["experts.down_proj"]})
        )


@pytest.mark.parametrize("mixture", ["gpt_oss"], indirect=True)
def test_every_linear_layer_is_not_every_expert(mixture: Lab) -> None:
    with pytest.raises(ExpertsUntrained, match="none of the experts"):
        mixture.train(mixture.step())


@pytest.mark.parametrize("mixture", [pytest.param("qwen3_moe", marks=pytest.mark.slow)], indirect=True)
def test_where_peft_reads_all_linear_as_the_experts_too_they_are_trained(mixture: Lab) -> None:
    trained, merged = made(mixture, {"r": 4}, "all-linear")
    assert trained.facts["experts"]["trained"] == trained.facts["experts"]["weights"]
    assert merged.facts["kl_mean"] < 5e-4


@pytest.mark.parametrize("mixture", [*(pytest.param(arch, marks=pytest.mark.slow) for arch in MIXTURES)], indirect=True)
def test_experts_are_trained_and_merged_under_the_names_that_the_files_have(mixture: Lab) -> None:
    from safetensors.torch import load_file

    trained, merged = made(mixture, WITH_EXPERTS, "experts")
    assert merged.facts["kl_mean"] < 5e-4
    assert merged.facts["kl_mean"] * 20 < merged.facts["kl_of_training"]
    experts = trained.facts["experts"]
    assert experts["trained"] == experts["weights"] > 0
    assert trained.facts["matched_kinds"]["mlp.experts.down_proj"] == 2
    before, after = (load_file(it.path / "model" / "model.safetensors") for it in (mixture.base, merged))
    ours = [name for name in before if ".experts." in name and not name.endswith("_bias")]
    changed = {name for name in ours if not before[name].equal(after[name])}
    assert changed == set(ours)
    assert before.keys() == after.keys()


@pytest.mark.parametrize("mixture", ["qwen3_moe"], indirect=True)
def test_experts_stay_frozen_where_that_is_said(mixture: Lab) -> None:
    trained, merged = made(mixture, {"experts": "frozen"}, "frozen")
    assert trained.facts["experts"]["trained"] == 0
    assert set(trained.facts["matched_kinds"]) == {f"self_attn.{name}_proj" for name in "qkvo"}
    assert merged.facts["kl_mean"] < 5e-4
    with pytest.raises(TrainError, match="says experts: frozen, and its targets name"):
        mixture.train(mixture.step({"experts": "frozen", "target_parameters": "all-experts"}))


# --- what is trained in full beside the adapter -------------------------------------------------------------------


def weights_of(artifact: Artifact) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(artifact.path / "model" / "model.safetensors")


@pytest.mark.slow
def test_modules_that_are_trained_in_full_are_saved_with_the_adapter_and_merged(
    tmp_path: Path, tiny_qwen3: Path
) -> None:
    lab = Lab(tmp_path, tiny_qwen3, tied=False)
    trained, merged = made(lab, {"r": 4, "modules_to_save": ["embed_tokens", "lm_head"]}, "kept", max_steps=2)
    assert trained.facts["matched_kinds"]["lm_head"] == 1
    assert trained.facts["matched_kinds"]["model.embed_tokens"] == 1
    before, after = weights_of(lab.base), weights_of(merged)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        assert not before[name].equal(after[name]), name
    assert before.keys() == after.keys()


@pytest.mark.parametrize("module", ["embed_tokens", pytest.param("lm_head", marks=pytest.mark.slow)])
def test_an_embedding_and_a_head_that_are_one_tensor_are_trained_as_one(lab: Lab, module: str) -> None:
    """Trained apart, one of the two would be lost when the merged model is read back from disk."""
    _, merged = made(lab, {"r": 4, "modules_to_save": [module]}, f"tied-{module}")
    before, after = weights_of(lab.base), weights_of(merged)
    assert not before["model.embed_tokens.weight"].equal(after["model.embed_tokens.weight"])
    assert merged.facts["kl_mean"] * 10 < merged.facts["kl_of_training"]
    assert merged.facts["witness"]["kl"] * 5 < merged.facts["witness"]["kl_of_training"]


def test_a_type_that_cannot_keep_them_one_is_refused(lab: Lab) -> None:
    with pytest.raises(TrainError, match="'embed_tokens' is one tensor with another module"):
        lab.train(lab.step({"type": "loha", "modules_to_save": ["embed_tokens"]}))


# --- one adapter after another ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_three_generations_of_three_types_each_stand_on_the_merged_one_before(lab: Lab, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    child = Lab(tmp_path, lab.base.path / "model")
    child.base = lab.base
    parents: list[Artifact] = []
    for generation, type in enumerate(("pissa", "qlora", "dora")):
        trained, merged = made(child, {"type": type, "r": 4}, f"generation-{generation}", max_steps=2)
        config = json.loads((trained.path / "adapter" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == (f"merge/{parents[-1].key}" if parents else "tiny/base")
        assert merged.facts["kl_mean"] < 5e-4
        assert merged.facts["name"] == "tiny/base"
        assert not parents or trained.facts["base_sha256"] != parents[-1].facts.get("base_sha256")
        child.base = merged
        parents.append(merged)


def test_a_base_that_is_not_the_one_trained_on_is_refused(lab: Lab, plain: Artifact, tmp_path: Path) -> None:
    """Of the same shape, so that nothing but its bytes can tell."""
    from safetensors.torch import load_file, save_file

    other = tmp_path / "model"
    shutil.copytree(lab.base.path / "model", other)
    tensors = load_file(other / "model.safetensors")
    tensors["model.norm.weight"][0] += 0.5
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    stranger = Lab(tmp_path / "lab", other)
    with pytest.raises(WrongBase, match="trained on another base"):
        merge(stranger, plain)


def test_an_adapter_that_was_put_in_the_place_of_another_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Of another rank than its settings say: PEFT itself cannot load it; of another size: it has no place."""
    from safetensors.torch import load_file, save_file

    trained = lab.train(lab.step({"type": "dora", "r": 4}, **HARD), "another")
    other = tmp_path / "trained"
    shutil.copytree(trained.path, other)
    weights = other / "adapter" / "adapter_model.safetensors"
    save_file(
        {name: tensor[..., : tensor.shape[-1] // 2].contiguous() for name, tensor in load_file(weights).items()},
        weights,
    )
    with pytest.raises(WrongBase, match="does not fit the base"):
        merge(lab, Artifact(trained.key, other), "another-merged")


def test_matrices_over_what_was_left_of_the_base_do_not_pass_for_ones_over_the_base(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merge itself is right then, and equal to the adapter on its base: only the trained model's own words tell."""
    monkeypatch.setattr(
        saving, "_over_the_whole_base", lambda folder, config, start: {**config, "init_lora_weights": True}
    )
    with pytest.raises(MergeError, match="the merged model is not the one that was trained"):
        made(lab, {"type": "pissa", "r": 16}, "left-over")


# --- what must not pass in silence --------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["dora", "pissa", pytest.param("loha", marks=pytest.mark.slow)])
def test_a_run_that_moves_nothing_is_an_error_under_every_type(lab: Lab, type: str) -> None:
    with pytest.raises(EmptyAdapter, match="changes nothing"):
        lab.train(
            lab.step({"type": type, "r": 4} if type != "loha" else {"type": type}, learning_rate=0.0, max_steps=1)
        )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda name, tensor: tensor[:0], r"not whole: .*q_proj\.lora_A\.weight is not in it"),
        (lambda name, tensor: None, r"not whole: model\.layers\.1\.self_attn\.q_proj is not in it"),
        (lambda name, tensor: None if "lora_A" in name else tensor, "not whole: .*self_attn.q_proj is not in it"),
        (lambda name, tensor: tensor / 0, "numbers that are not finite"),
    ],
)
def test_an_adapter_that_was_saved_in_parts_is_found(
    plain: Artifact, tmp_path: Path, spoil: Callable[[str, Any], Any], message: str
) -> None:
    """As a save from several devices leaves it: empty tensors, or none, for what lay elsewhere."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "adapter"
    shutil.copytree(plain.path / "adapter", folder)
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    for name in [name for name in tensors if "layers.1.self_attn.q_proj" in name]:
        spoiled = spoil(name, tensors.pop(name))
        tensors |= {} if spoiled is None else {name: spoiled}
    save_file(tensors, weights)
    prove_adapter(plain.path / "adapter", plain.facts["matched_modules"])
    with pytest.raises(EmptyAdapter, match=message):
        prove_adapter(folder, plain.facts["matched_modules"])


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ({"exclude_modules": ["k_porj"]}, r"exclude_modules: 'k_porj' names no module.*Did you mean 'k_proj'"),
        ({"modules_to_save": ["lm_haed"]}, r"modules_to_save: 'lm_haed' names no module.*Did you mean 'lm_head'"),
        ({"target_parameters": ["experts.w"]}, r"target_parameters: 'experts.w' names no parameter"),
        ({"target_parameters": "all-experts"}, r"'all-experts' finds no expert"),
    ],
)
def test_each_name_must_be_there(lab: Lab, adapter: dict[str, Any], message: str) -> None:
    with pytest.raises(UnmatchedTargets, match=message):
        lab.train(lab.step(adapter))


def test_a_type_whose_layers_cannot_be_merged_is_refused_before_it_is_trained(lab: Lab) -> None:
    with pytest.raises(TrainError, match=r"an adapter of the type beft on .* cannot be merged into the base"):
        lab.train(lab.step({"type": "beft"}))


def test_a_size_that_does_not_fit_is_told_in_pefts_words(lab: Lab) -> None:
    with pytest.raises(TrainError, match="cannot be trained as written") as caught:
        lab.train(lab.step({"type": "c3a"}))
    assert "block size should be a factor" in caught.value.why


def test_what_was_matched_is_counted_by_kind_and_told_while_training(lab: Lab) -> None:
    lab.events.clear()
    trained = lab.train(lab.step({"r": 4, "exclude_modules": ["k_proj"], "target_modules": ".*_proj"}, **HARD), "told")
    kinds = trained.facts["matched_kinds"]
    assert kinds["mlp.down_proj"] == kinds["self_attn.q_proj"] == 2
    assert "self_attn.k_proj" not in kinds
    assert "experts" not in trained.facts
    (line,) = [event["text"] for event in lab.events if event["kind"] == "note"]
    assert line.startswith("the adapter stands on 12 modules: mlp.down_proj (2), mlp.gate_proj (2)")


@pytest.mark.slow
def test_dora_over_nf4(lab: Lab) -> None:
    pytest.importorskip("bitsandbytes")
    _, merged = made(lab, {"type": "dora", "r": 4, "quantize_base": "nf4"}, "qdora")
    assert merged.facts["kl_mean"] * 5 < merged.facts["kl_nf4_base"]


@pytest.mark.slow
@pytest.mark.parametrize("init", ["olora", "orthogonal", "gaussian", "mica", "pissa_niter_2"])
def test_matrices_may_start_in_other_ways(lab: Lab, init: str) -> None:
    args = {"init_lora_weights": init, "use_rslora": True}
    trained, merged = made(lab, {"r": 4, "args": args}, init)
    assert merged.facts["kl_mean"] < 5e-4
    assert merged.facts["witness"]["kl"] * 5 < merged.facts["witness"]["kl_of_training"]
    config = json.loads((trained.path / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == (8 if init in ("olora", "pissa_niter_2") else 4)
