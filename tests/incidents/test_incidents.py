"""What goes wrong in this field without an error, planted in a real run of a tiny family: each is caught at a named
stage with a named error, and the same family without it passes.

The table is the one of docs/reliability.md; a test keeps the two equal.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.incidents.plant import Family, Ran, replaced, write_lines
from tests.stages.evaluate.parity import spoilt
from tests.tiny import tiny_model
from tests.tiny_mixtures import tiny_mixture
from variantforge import errors, sandbox
from variantforge.stages.tokens import Tokens
from variantforge.step import FACTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),
]

Patch = pytest.MonkeyPatch
DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.fixture
def family(tmp_path: Path, tiny_llama: Path) -> Family:
    shutil.copytree(tiny_llama, tmp_path / "base")
    return Family(tmp_path, tmp_path / "base")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Family:
    """The family with nothing planted in it, made."""
    folder = tmp_path_factory.mktemp("clean")
    family = Family(folder, shutil.copytree(tiny_llama, folder / "base"))
    passes(family.run())
    return family


# --- masks --------------------------------------------------------------------------------------------------------


def masked(patch: Patch, change: Callable[[list[bool]], list[bool]]) -> None:
    """Every row's mask is changed on its way from the tokenizer to its proof."""
    from variantforge.stages.train import examples

    tokenize = examples.tokenize_row

    def tokenize_row(*args: Any, **kwargs: Any) -> Tokens:
        tokens = tokenize(*args, **kwargs)
        return dataclasses.replace(tokens, supervised=change(list(tokens.supervised)))

    patch.setattr(examples, "tokenize_row", tokenize_row)


def all_zero_mask(family: Family, patch: Patch) -> None:
    masked(patch, lambda mask: [False] * len(mask))


def stop_token_outside_the_mask(family: Family, patch: Patch) -> None:
    def change(mask: list[bool]) -> list[bool]:
        mask[len(mask) - 1 - mask[::-1].index(True)] = False
        return mask

    masked(patch, change)


def prompt_tokens_supervised(family: Family, patch: Patch) -> None:
    def change(mask: list[bool]) -> list[bool]:
        first = mask.index(True)
        mask[first - 8 : first] = [True] * 8
        return mask

    masked(patch, change)


def double_bos(family: Family, patch: Patch) -> None:
    family.template(lambda text: "{{ bos_token }}" + text)


def truncation_cuts_every_answer(family: Family, patch: Patch) -> None:
    family.train["args"]["max_length"] = 12


def pad_is_eos_masked_away(family: Family, patch: Patch) -> None:
    """As the collator for plain language modelling does: every token that is the padding token is no label."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling as Collator

    call = Collator.torch_call

    def torch_call(self: Any, examples: Any) -> Any:
        batch = call(self, examples)
        batch["labels"][batch["input_ids"] == self.pad_token_id] = -100
        return batch

    patch.setattr(Collator, "torch_call", torch_call)


# --- adapters -----------------------------------------------------------------------------------------------------


def unmatched_target(family: Family, patch: Patch) -> None:
    family.train["adapter"] = {"target_modules": ["v_proj", "q_porj"]}


def experts_untrained(family: Family, patch: Patch) -> None:
    shutil.rmtree(family.base)
    tiny_mixture(family.base, "gpt_oss")
    family.train["adapter"] = {"target_modules": ["q_proj", "v_proj"]}


def empty_adapter_after_a_sharded_save(family: Family, patch: Patch) -> None:
    """Each parameter's shard on this rank has no element when it is written, as under ZeRO-3 without gathering."""
    from peft import PeftModel

    save = PeftModel.save_pretrained

    def save_pretrained(self: Any, *args: Any, **kwargs: Any) -> Any:
        whole = [(parameter, parameter.data) for parameter in self.parameters() if parameter.requires_grad]
        for parameter, data in whole:
            parameter.data = data.new_empty(0)
        save(self, *args, **kwargs)
        for parameter, data in whole:
            parameter.data = data

    patch.setattr(PeftModel, "save_pretrained", save_pretrained)


def wrong_base_under_an_adapter(family: Family, patch: Patch) -> None:
    """After training, the base in the store becomes another one of the same shape."""
    from variantforge.stages.train.stage import TrainStage

    do = TrainStage.do

    def train(self: TrainStage, context: Any) -> None:
        do(self, context)
        other = tiny_model(family.folder / "other", seed=7)
        shutil.copy(other / "model.safetensors", context.inputs["base"].path / "model" / "model.safetensors")

    patch.setattr(TrainStage, "do", train)


def leftover_quantization_config(family: Family, patch: Patch) -> None:
    """The merge leaves the block of the base that it was trained over, and the weights are whole."""
    from variantforge.stages.merge.stage import MergeStage

    family.spec["variants"]["one"]["quantize"] = ["w8a8"]
    do = MergeStage.do

    def merge(self: MergeStage, context: Any) -> None:
        do(self, context)
        path = context.out / "model" / "config.json"
        left = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": left}))

    patch.setattr(MergeStage, "do", merge)


def ragged(family: Family) -> None:
    rows = [{"prompt": f"Count to {n}.", "completion": " ".join(map(str, range(1 + n % 20)))} for n in range(64)]
    write_lines(family.folder / "rows.jsonl", rows)


def modules_that_no_gradient_reaches(family: Family, patch: Patch) -> None:
    """What a 4-bit kernel without a backward does: the layer's output is right, and nothing behind it learns."""
    from variantforge.stages.train.training import Training

    make = Training.model

    def model(self: Training) -> Any:
        made = make(self)
        for layer in made.get_base_model().model.layers:
            layer.mlp.down_proj.register_forward_pre_hook(lambda module, args: (args[0].detach(),))
        return made

    patch.setattr(Training, "model", model)


# --- numbers ------------------------------------------------------------------------------------------------------


def nan_at_step_5(family: Family, patch: Patch) -> None:
    """One gradient overflows; the loss itself still looks as ever."""
    from variantforge.stages.train.adapters import trainable
    from variantforge.stages.train.trainer import Careful

    step = Careful.training_step

    def training_step(self: Careful, *args: Any) -> Any:
        loss = step(self, *args)
        if self.state.global_step == 4:
            trainable(self.model)[0][1].grad.view(-1)[3] = float("nan")
        return loss

    patch.setattr(Careful, "training_step", training_step)


def accumulation_weighs_micro_batches(family: Family, patch: Patch) -> None:
    ragged(family)
    from variantforge.stages.train.sft import ProvenAtFirst

    step = ProvenAtFirst.training_step
    patch.setattr(ProvenAtFirst, "training_step", lambda self, model, inputs, count=None: step(self, model, inputs))


def packing_leaks(family: Family, patch: Patch) -> None:
    """The attention is handed no borders: causal over the whole packed sequence."""
    import torch
    import transformers.models.llama.modeling_llama as llama

    def causal(config: Any, inputs_embeds: Any, *args: Any, **kwargs: Any) -> Any:
        length = inputs_embeds.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril()[None, None]

    family.train["args"] |= {"packing": True, "per_device_train_batch_size": 1}
    patch.setattr(llama, "create_causal_mask", causal)


def evaluation_rows_in_the_training_data(family: Family, patch: Patch) -> None:
    question = "How many different ways are there to climb a staircase of twelve steps by ones and twos?"
    write_lines(family.folder / "suite.jsonl", [{"prompt": question}])
    family.spec["data_policy"] = {"decontaminate": {"against": ["./suite.jsonl"], "on_hit": "error"}}
    with open(family.folder / "rows.jsonl", "a") as file:
        for number in range(8):
            file.write(f'{{"prompt": "{question} ({number})", "completion": "It is {200 + number}."}}\n')


# --- measurements -------------------------------------------------------------------------------------------------


def needs_a_sandbox() -> None:
    try:
        sandbox.require()
    except errors.SandboxMissing as error:
        pytest.skip(f"{error.why}; type: {error.next}")


def solves_problems(family: Family) -> None:
    needs_a_sandbox()
    problems = [{"id": name, "prompt": f"def {name}():\n", "tests": [f"assert {name}() == 1"]} for name in ("a", "b")]
    write_lines(family.folder / "problems.jsonl", problems)
    asked = {"evaluator": "code", "path": "./problems.jsonl", "mode": "completion", "max_new_tokens": 4}
    family.spec["evaluate"] = {**family.spec.get("evaluate", {}), "python": asked}
    family.spec["gates"] = [{"metric": "python.pass@1", "at_least": 0.0, "min_examples": 1}]


def an_evaluator_that_crashes_on_one_item(family: Family, patch: Patch) -> None:
    """Its sandbox cannot be ended at the second problem: no verdict on the program, and counted as one by most."""
    solves_problems(family)
    grade = sandbox.grade

    def breaks_off(program: str, *args: Any) -> sandbox.Grade:
        if program.startswith("def b"):
            raise OSError("a killed sandbox lives on")
        return grade(program, *args)

    patch.setattr(sandbox, "grade", breaks_off)


# --- what ships -------------------------------------------------------------------------------------------------------


def checked(family: Family, *formats: str) -> None:
    """Parity is measured, of merged weights and of these formats."""
    family.spec["evaluate"] = {}
    family.spec["variants"]["one"]["quantize"] = list(formats)


def shipped_as(family: Family, patch: Patch, spoil: Callable[[Path, Path], Path]) -> None:
    """The GGUF file is spoilt after it was made and looked at."""
    from variantforge.stages.quantize.gguf import Gguf

    checked(family, "gguf:Q8_0")
    do = Gguf.do

    def quantize(self: Gguf, context: Any) -> None:
        do(self, context)
        if context.step.params["type"] == "Q8_0":
            made = context.out / "model.gguf"
            spoil(made.rename(context.scratch / "whole.gguf"), made)

    patch.setattr(Gguf, "do", quantize)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Family:
    """The family with a GGUF file that is what it should be, made and measured."""
    folder = tmp_path_factory.mktemp("sound")
    family = Family(folder, shutil.copytree(tiny_llama, folder / "base"))
    checked(family, "gguf:Q8_0")
    passes(family.run())
    return family


def taken_over(family: Family, sound: Family) -> None:
    """What was made before the file: only this and what comes after it is made anew."""
    store = sound.store.root
    for stage in ("base", "data", "train", "merge"):
        shutil.copytree(store / stage, family.store.root / stage)
    for made in (store / "quantize").iterdir():
        if json.loads((made / FACTS).read_text())["format"] != "gguf:Q8_0":
            shutil.copytree(made, family.store.root / "quantize" / made.name)


def gguf_with_a_wrong_pre_tokenizer(family: Family, patch: Patch) -> None:
    shipped_as(family, patch, spoilt.with_pre_tokenizer("llama-bpe"))


def control_token_typed_as_normal(family: Family, patch: Patch) -> None:
    shipped_as(family, patch, spoilt.with_normal_token("<|im_end|>"))


def template_changed_in_the_gguf(family: Family, patch: Patch) -> None:
    shipped_as(family, patch, spoilt.with_template(replaced("<|im_start|>assistant", "<|im_start|>assistant:")))


def quant_with_one_damaged_block(family: Family, patch: Patch) -> None:
    shipped_as(family, patch, spoilt.with_damaged_block("blk.1.ffn_up.weight"))


SHIPPED = (
    gguf_with_a_wrong_pre_tokenizer,
    control_token_typed_as_normal,
    template_changed_in_the_gguf,
    quant_with_one_damaged_block,
)


def tied_head_lost(family: Family, patch: Patch) -> None:
    """A head that was trained apart is written beside the embeddings that the config ties it to."""
    from safetensors.torch import load_file, save_file

    from variantforge.stages.merge.stage import MergeStage

    checked(family)
    do = MergeStage.do

    def merge(self: MergeStage, context: Any) -> None:
        do(self, context)
        weights = context.out / "model" / "model.safetensors"
        state = load_file(weights)
        state["lm_head.weight"] = state["model.embed_tokens.weight"] * 2
        save_file(state, weights, metadata={"format": "pt"})

    patch.setattr(MergeStage, "do", merge)


def merge_onto_dequantized_weights_of_another_base(family: Family, patch: Patch) -> None:
    from variantforge.stages.merge import stage

    fold = stage.fold
    other = rounded_to_nf4(tiny_model(family.folder / "other", seed=7))
    patch.setattr(stage, "fold", lambda context, base, adapter, out: fold(context, other, adapter, out))


def rounded_to_nf4(model: Path) -> Path:
    """Its matrices as they are once they were in NF4."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit
    from safetensors.torch import load_file, save_file

    state = load_file(model / "model.safetensors")
    for name, tensor in state.items():
        if tensor.dim() == 2:
            state[name] = dequantize_4bit(*quantize_4bit(tensor.float(), quant_type="nf4")).to(tensor.dtype)
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    return model


# incident -> (stage that catches it, error, words in its message)
def an_unpaired_gate(family: Family, patch: Patch) -> None:
    """The base was measured on other rows than the weights that are compared with it."""
    from variantforge.stages.evaluate import stage

    measure = stage._measure

    def without_the_first(evaluator: Any, context: Any) -> Any:
        measured = measure(evaluator, context)
        base = context.label.endswith("heldout:base")
        return dataclasses.replace(measured, examples=measured.examples[1:]) if base else measured

    patch.setattr(stage, "_measure", without_the_first)
    family.spec["evaluate"] = {"parity": "off", "heldout": {"evaluator": "perplexity", "fraction": 0.3}}
    family.spec["gates"] = [{"metric": "heldout.loss", "vs": "base", "worse_by_at_most": 9.0}]


CAUGHT: dict[Callable[[Family, Patch], None], tuple[str, type[Exception], str]] = {
    all_zero_mask: ("train", errors.NoSupervisedTokens, "not one token"),
    stop_token_outside_the_mask: ("train", errors.StopTokenNotSupervised, "stop token"),
    prompt_tokens_supervised: ("train", errors.WrongSupervisedSpan, "are not its answer"),
    double_bos: ("train", errors.WrongSupervisedSpan, "twice"),
    truncation_cuts_every_answer: ("train", errors.NoSupervisedTokens, "beyond max_length"),
    unmatched_target: ("train", errors.UnmatchedTargets, "'q_porj' names no module"),
    experts_untrained: ("train", errors.ExpertsUntrained, "none of the experts"),
    modules_that_no_gradient_reaches: ("train", errors.UnreachedModules, "does not reach 4 of 14"),
    empty_adapter_after_a_sharded_save: ("train", errors.EmptyAdapter, "adapter"),
    nan_at_step_5: ("train", errors.NonFiniteLoss, "not finite at step 5"),
    accumulation_weighs_micro_batches: ("train", errors.WrongAccumulation, "its rows on their own give"),
    packing_leaks: ("train", errors.PackingLeaks, "see each other"),
    evaluation_rows_in_the_training_data: ("data", errors.Contaminated, ""),
    pad_is_eos_masked_away: ("train", errors.WrongSupervisedSpan, "tokens to learn from"),
    an_unpaired_gate: ("gate", errors.UnpairedGate, "other items were measured"),
    wrong_base_under_an_adapter: ("merge", errors.WrongBase, ""),
    leftover_quantization_config: ("quantize", errors.WrongQuantizationConfig, "holds a quantization_config"),
    merge_onto_dequantized_weights_of_another_base: ("merge", errors.MergeError, "not do what base and adapter do"),
    tied_head_lost: ("evaluate", errors.WeightsDamaged, "would be lost when the merged weights are loaded"),
    gguf_with_a_wrong_pre_tokenizer: ("evaluate", errors.TokenizersDisagree, "of 5,000 texts"),
    control_token_typed_as_normal: ("evaluate", errors.WrongTokenType, "<|im_end|>: its type is NORMAL"),
    template_changed_in_the_gguf: ("evaluate", errors.TemplatesDisagree, "holds another chat template"),
    quant_with_one_damaged_block: ("evaluate", errors.WeightsDamaged, "the worst is model.layers.1.mlp.up_proj"),
    an_evaluator_that_crashes_on_one_item: ("evaluate", errors.EvaluateError, "broke off at problem b"),
}


def passes(ran: Ran) -> None:
    assert ran.failed == {}
    assert {"base", "data", "train", "merge", "publish"} <= ran.there


@pytest.mark.parametrize("plant", CAUGHT, ids=lambda plant: plant.__name__)
def test_an_incident_is_caught_and_its_clean_twin_passes(
    family: Family, monkeypatch: Patch, plant: Callable[[Family, Patch], None], request: pytest.FixtureRequest
) -> None:
    stage, error, words = CAUGHT[plant]
    if plant in SHIPPED:
        taken_over(family, request.getfixturevalue("sound"))
    plant(family, monkeypatch)
    ran = family.run()
    caught = ran.failed.get(stage)
    assert type(caught) is error, ran.failed
    assert re.search(re.escape(words), str(caught))
    assert list(ran.failed) == [stage]
    assert not (family.folder / "published").exists()


CLEAN: dict[str, Callable[[Family], object]] = {
    "ragged": ragged,
    "packed": lambda family: family.train["args"].update(packing=True, per_device_train_batch_size=1),
    "in eight bits": lambda family: family.spec["variants"]["one"].update(quantize=["w8a8"]),
    "sequential": lambda family: family.train["args"].update(train_sampling_strategy="sequential"),
    "problems solved": solves_problems,
    "targets by name": lambda family: family.train.update(adapter={"target_modules": ["v_proj", "q_proj"]}),
    "decontaminated": lambda family: (
        write_lines(family.folder / "suite.jsonl", [{"prompt": "Something else that nobody has ever asked before."}]),
        family.spec.update(data_policy={"decontaminate": {"against": ["./suite.jsonl"], "on_hit": "error"}}),
    ),
    "experts": lambda family: (
        shutil.rmtree(family.base),
        tiny_mixture(family.base, "gpt_oss"),
        family.train.update(adapter={"target_modules": ["q_proj", "v_proj"], "experts": "frozen"}),
    ),
}


@pytest.mark.parametrize("twin", CLEAN)
def test_a_clean_twin_passes(family: Family, twin: str) -> None:
    CLEAN[twin](family)
    passes(family.run())


def test_a_clean_twin_as_it_is_passes(clean: Family) -> None:
    assert {path.name for path in (clean.folder / "published").iterdir()} >= {"incident-one"}


def test_a_clean_twin_in_parity_passes(sound: Family) -> None:
    assert {path.name for path in (sound.folder / "published").iterdir()} >= {"incident-one-GGUF"}


# --- what is caught before anything runs, or passed over ------------------------------------------------------------


def test_stale_tokens_after_a_template_change(family: Family) -> None:
    """No tokenized row outlives its template: the template's bytes are in the keys of all that rests on it."""
    passes(family.run())
    first = family.artifact("train")
    assert family.run().done == set()
    family.template(replaced("named SmolLM, trained by Hugging Face", "named after nobody"))
    ran = family.run()
    passes(ran)
    (second,) = (path for path in first.parent.iterdir() if path != first)
    facts = [(path / "adapter/adapter_model.safetensors").read_bytes() for path in (first, second)]
    assert facts[0] != facts[1]


@pytest.mark.parametrize("damage", ["cut", "gone", "other bytes"])
def test_a_checkpoint_half_written(family: Family, clean: Family, monkeypatch: Patch, damage: str) -> None:
    """The newest checkpoint is damaged: the one before it is gone on from, with a note, and the bytes are the same."""
    from variantforge.stages.train.trainer import Careful

    step = Careful.training_step

    def dies(self: Careful, *args: Any) -> Any:
        if self.state.global_step == 4:
            raise SystemExit(9)
        return step(self, *args)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Careful, "training_step", dies)
        family.run()
    newest = max((family.folder / "store").rglob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    weights = newest / "weights.safetensors"
    content = weights.read_bytes()
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(content[:-100] if damage == "cut" else content[:-4] + b"\0\0\0\x7f")
    ran = family.run()
    passes(ran)
    assert any(f"{newest.name} cannot be used" in note for note in ran.notes)
    adapters = [one.artifact("train") / "adapter/adapter_model.safetensors" for one in (family, clean)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


# Run where it is, inside the sandbox: the tests share a process, and so their comparisons, with the program.
IN_THE_SAME_PROCESS = """
def verdict():
    names = {}
    try:
        exec(PROGRAM, names)
        exec(TESTS, names)
        return True
    except BaseException:
        return False
"""
CHEATS = {
    "equal to everything": "class Any:\n    def __eq__(self, other): return True\ndef word(): return Any()\n",
    "ends before it is asked": "def word(): return 1\nTESTS = ''\n__builtins__['exec'] = lambda *args: None\n",
}
ASKED = "assert word() == 'opensesame'"


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_grader_that_compares_inside_the_candidates_process(cheat: str) -> None:
    """Planted, it believes a program that knows nothing; ours, whose comparisons are outside, does not."""
    needs_a_sandbox()
    honest, wrong = "def word(): return 'opensesame'", "def word(): return 'x'"

    def inside(program: str) -> bool:
        text = f"PROGRAM = {program!r}\nTESTS = {ASKED!r}\n{IN_THE_SAME_PROCESS}"
        return sandbox.run_python(text, [("verdict", [])]) == [True]

    def outside(program: str) -> bool:
        return sandbox.grade(program, sandbox.read_tests([ASKED])).whole

    assert (inside(honest), inside(wrong), inside(CHEATS[cheat])) == (True, False, True)
    assert (outside(honest), outside(wrong), outside(CHEATS[cheat])) == (True, False, False)


def test_the_table_of_the_docs_is_this_one() -> None:
    section = DOCS.read_text().partition("## Planted incidents")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \| `(\w+)` \| `?([\w ]+?)`? \|", section, re.MULTILINE)
    told = {(incident, stage, error) for incident, stage, error in rows}
    named = {(plant.__name__.replace("_", " "), stage, error.__name__) for plant, (stage, error, _) in CAUGHT.items()}
    others = {
        ("stale tokens after a template change", "plan", "runs again"),
        ("checkpoint half written", "train", "goes back"),
        ("suite too small for its margin", "gate", "not enough data"),
        ("a grader that compares inside the candidates process", "evaluate", "wrong answer"),
    }
    assert told == named | others
