"""One real training step in a process of its own, and how much memory it took: what benchmarks/memory.py measures with.

The process is forked, as every step of ``vf apply`` is, from one that has imported the heavy libraries. ``train`` runs
in it, under a ledger of every tensor storage that an operation reads or makes, the backward pass included (what an
operation takes for itself alone is not in it); the kernel says how much of the machine's memory the process held at
most. On CUDA the figures are those of torch's own allocator.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import traceback
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROWS = 24
PAIRS = ("dpo", "kto", "orpo")
_AROUND_ANSWER = 24  # tokens of a question and of the template around both
WHOLE_VOCABULARY = 49152  # SmolLM2's
_WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "lazy", "dog", "runs", "into", "green", "woods", "before")
Case = Mapping[str, Any]


def measured(case: Case) -> dict[str, int]:
    """Bytes: ``tensors`` at their peak, ``process`` at its, and ``libraries``, what that held before it began."""
    import variantforge.run.heavy  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        forked(lambda: build(case, root / "base"))  # building a model must leave no trace in what is measured
        if teacher := case.get("teacher"):
            forked(lambda: build({"model": teacher}, root / "teacher"))
        write_rows(case, root / "data")
        told: dict[str, int] = forked(lambda: train(case, root))
    return told


def forked(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a fork of this process."""
    ours, theirs = os.pipe()
    if (child := os.fork()) == 0:
        code = 1
        try:
            os.write(theirs, json.dumps(work()).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        told = pipe.read()
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the measured process failed")
    return json.loads(told)


def build(case: Case, folder: Path) -> None:
    """A base of random weights, as the base stage would leave it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    tokenizer = tokenizer_of(case)
    shape = {
        **case["model"],
        "bos_token_id": 0,
        "eos_token_id": tokenizer.eos_token_id,
        "max_position_embeddings": 4096,
    }
    config = AutoConfig.for_model(shape.pop("model_type"), **shape)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    facts = {"stop_token_ids": [tokenizer.eos_token_id], "name": "random", "tied": config.tie_word_embeddings}
    (folder / "facts.json").write_text(json.dumps(facts))


def tokenizer_of(case: Case) -> Any:
    """SmolLM2's; for smaller vocabularies one token for each byte."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    if case["model"]["vocab_size"] >= WHOLE_VOCABULARY:
        from tests.tiny import tokenizer_folder

        return AutoTokenizer.from_pretrained(tokenizer_folder())
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<s>")


def write_rows(case: Case, folder: Path) -> None:
    """Rows of nearly one length: of texts, every second one is cut at ``max_length``; all fill 80 % of it or more."""
    from variantforge.stages import rows

    dice, pairs = random.Random(0), case.get("method", "sft") in PAIRS
    length = case["args"].get("max_length") or case["args"]["max_completion_length"]
    if case.get("method"):
        length -= _AROUND_ANSWER  # an answer that is cut would lose its end, which is what is learned
    made = []
    for number in range(ROWS):
        cut = number % 2 and "method" not in case
        answers = [_words(case, dice, length * (1.2 if cut else dice.uniform(0.8, 0.97))) for _ in range(1 + pairs)]
        made.append(rows.make_row("words", _content(case, f"Tell {number}.", answers)))
    folder.mkdir()
    rows.write_rows(folder / rows.TRAIN, made)
    rows.write_rows(folder / rows.HELDOUT, [])


def _words(case: Case, dice: random.Random, wanted: float) -> str:
    letters = case["model"]["vocab_size"] < WHOLE_VOCABULARY  # a token is a letter there, and a word here
    words: list[str] = []
    while (len(" ".join(words)) if letters else len(words)) < wanted:
        words.append(dice.choice(_WORDS))
    return " ".join(words)


def _content(case: Case, question: str, answers: list[str]) -> dict[str, Any]:
    """A row of the kind that the method takes."""
    asked, said = [{"role": "user", "content": question}], [[{"role": "assistant", "content": one}] for one in answers]
    if len(said) == 2:
        return {"prompt": asked, "chosen": said[0], "rejected": said[1]}
    return {"messages": [*asked, *said[0]]} if "method" in case else {"text": answers[0]}


def longest_of(case: Case) -> int | None:
    """A bound on the tokens of its rows, where no argument is one."""
    limit = case["args"].get("max_completion_length")
    return limit + _AROUND_ANSWER if limit else None


def train(case: Case, root: Path) -> dict[str, int]:
    """Two optimizer steps of the train stage; the checkpoint after the first is written."""
    import torch

    from variantforge.stages.train.stage import STAGE
    from variantforge.step import Artifact, StepContext

    if case.get("attention") == "eager":
        _load_eager()
    inputs = {role: Artifact(role, root / role) for role in ("base", "data", "teacher") if (root / role).exists()}
    for name in ("out", "scratch"):
        (root / name).mkdir()
    context = StepContext(step=step_of(case), inputs=inputs, out=root / "out", scratch=root / "scratch")
    before = resident_bytes("VmRSS")
    if torch.cuda.is_available():
        STAGE.do(context)
        return {"tensors": torch.cuda.max_memory_allocated(), "process": torch.cuda.max_memory_reserved()}
    mode = ledger_mode()
    with mode:
        STAGE.do(context)
    return {"tensors": mode.peak, "process": resident_bytes("VmHWM"), "libraries": before}


def step_of(case: Case) -> Any:
    from variantforge.step import Step

    args = {"max_steps": 2, "gradient_accumulation_steps": 1, **case["args"]}
    params = {"adapter": case.get("adapter", {}), "args": args, "recipe": 1}
    params |= {"answers": case["answers"]} if "answers" in case else {}
    return Step("train", 1, case.get("method", "sft"), params)


def _load_eager() -> None:
    from transformers import AutoModelForCausalLM

    inner = AutoModelForCausalLM.from_pretrained.__func__

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        return inner(cls, *args, **{**kwargs, "attn_implementation": "eager"})

    AutoModelForCausalLM.from_pretrained = classmethod(from_pretrained)


def resident_bytes(field: str) -> int:
    """Of this process: ``VmRSS``, what it holds of the machine's memory, or ``VmHWM``, the most that it ever held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def ledger_mode() -> Any:
    """A dispatch mode whose ``peak`` is the most that live tensor storages ever held at once, in bytes."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Ledger(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.live: dict[int, tuple[int, Any]] = {}
            self.bytes = self.peak = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.note(args)
            made = function(*args, **(kwargs or {}))
            self.note(made)
            return made

        def note(self, leaf: Any) -> None:
            if isinstance(leaf, (tuple, list)):
                for inner in leaf:
                    self.note(inner)
                return
            if not isinstance(leaf, torch.Tensor) or leaf.is_meta:
                return
            storage = leaf.untyped_storage()
            name = id(storage)
            if name in self.live and self.live[name][1]() is storage:
                return
            self.live[name] = (storage.nbytes(), weakref.ref(storage, self.forget(name)))
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)

        def forget(self, name: int) -> Callable[[Any], None]:
            def gone(_: Any) -> None:
                self.bytes -= self.live.pop(name, (0, None))[0]

            return gone

    return Ledger()
