from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from variantforge.errors import UsageError
from variantforge.spec import trainer_args
from variantforge.spec.owned_args import OWNED, owned
from variantforge.spec.trainer_args import TRAINER_CONFIGS, argument_problems, trainer_arguments, value_problem
from variantforge.stages.train import METHODS
from variantforge.stages.train.config import config_class


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and nothing remembered in this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    trainer_arguments.cache_clear()
    yield tmp_path / "variantforge"
    trainer_arguments.cache_clear()


def kept(cache: Path) -> Path:
    (path,) = cache.rglob("SFTConfig.json")
    return path


def problem(name: str, value: Any) -> str:
    return "; ".join(text for _, text in argument_problems("sft", {name: value}))


@pytest.mark.filterwarnings("ignore")  # what importing TRL warns of is not ours
@pytest.mark.parametrize("method", TRAINER_CONFIGS)
def test_the_names_read_from_the_sources_are_the_fields_of_the_imported_class(method: str) -> None:
    fields = dataclasses.fields(config_class(method))
    assert set(trainer_arguments(method)) == {field.name for field in fields if field.init}


def test_reading_them_imports_neither_trl_nor_transformers() -> None:
    code = (
        "import sys; from variantforge.spec.trainer_args import trainer_arguments; trainer_arguments('sft');"
        "print([name for name in ('trl', 'transformers', 'torch') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_they_are_kept_until_a_source_file_changes(cache: Path) -> None:
    first = trainer_arguments("sft")
    path = kept(cache)
    content = json.loads(path.read_text())
    content["arguments"]["planted"] = ["int", ["int"], []]
    path.write_text(json.dumps(content))
    trainer_arguments.cache_clear()
    assert "planted" in trainer_arguments("sft")
    content["files"] = {file: [stamp[0] + 1, stamp[1]] for file, stamp in content["files"].items()}
    path.write_text(json.dumps(content))
    trainer_arguments.cache_clear()
    assert trainer_arguments("sft") == first


DAMAGE = ["", "{", "[]", '{"files": {}}', '{"files": {}, "arguments": {}}', '{"files": {"/": 3}, "arguments": {}}']


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_read_past(damage: str, cache: Path) -> None:
    first = trainer_arguments("sft")
    kept(cache).write_text(damage)
    trainer_arguments.cache_clear()
    assert trainer_arguments("sft") == first


def test_a_cache_that_cannot_be_written_does_no_harm(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert "learning_rate" in trainer_arguments("sft")


def test_missing_sources_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAINER_CONFIGS, "later", "trl:NoSuchConfig")
    with pytest.raises(UsageError, match="cannot check train"):
        trainer_arguments("later")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 2e-4),
        ("learning_rate", 1),
        ("max_length", None),
        ("max_steps", -1),
        ("max_grad_norm", 0.0),
        ("seed", 2**32 - 1),
        ("num_train_epochs", 2),
        ("packing", True),
        ("optim", "adamw_torch"),
        ("lr_scheduler_type", "cosine"),
        ("lr_scheduler_kwargs", {"num_cycles": 2}),
        ("optim_target_modules", ["q_proj"]),
        ("packing_strategy", "bfd"),
        ("use_cpu", True),
        ("bf16", None),
    ],
)
def test_what_trl_takes_may_be_written(name: str, value: Any) -> None:
    assert problem(name, value) == ""


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("learning_rate", "2e-4", "a number is wanted here, not the text '2e-4'"),
        ("learning_rate", True, "a number is wanted here, not true"),
        ("seed", 1.0, "a whole number is wanted here, not the number 1.0"),
        ("seed", None, "a whole number is wanted here, not nothing"),
        ("packing", 1, "true or false is wanted here, not the number 1"),
        ("max_length", "long", "a whole number or null is wanted here, not the text 'long'"),
        ("optim_target_modules", [1], "null or text or a list of texts is wanted here, not a list"),
        ("lr_scheduler_type", "cosin", "the text 'cosin' is none of linear, cosine,"),
        ("optim", "adamw_torh", "the text 'adamw_torh' is not known here. Did you mean 'adamw_torch'?"),
        ("learning_rat", 1.0, "unknown argument of TRL's SFTConfig. Did you mean 'learning_rate'?"),
        ("parallelism_config", {}, "it takes a Python object"),
        ("learning_rate", -1, "more than 0 is wanted here, not -1"),
        ("learning_rate", 0.0, "more than 0 is wanted here, not 0.0"),
        ("per_device_train_batch_size", 0, "at least 1 is wanted here, not 0"),
        ("gradient_accumulation_steps", 0, "at least 1 is wanted here, not 0"),
        ("max_length", 1, "at least 2 is wanted here, not 1"),
        ("num_train_epochs", 0, "more than 0 is wanted here, not 0"),
        ("logging_steps", 0, "more than 0 is wanted here, not 0"),
        ("max_steps", -5, "at least 1 is wanted here, or -1 for no limit, not -5"),
        ("seed", 2**32, "at most 4294967295 is wanted here, not 4294967296"),
        ("output_dir", "./out", "cannot be set: variantforge keeps a step's results in its own store"),
        ("hub_anything", 1, "cannot be set: variantforge publishes in its own stage"),
    ],
)
def test_what_trl_would_not_take_is_told(name: str, value: Any, sentence: str) -> None:
    assert problem(name, value).startswith(sentence)


def test_two_precisions_are_one_too_many() -> None:
    both = {"fp16": True, "bf16": True}
    assert list(argument_problems("sft", both)) == [("fp16", "fp16 and bf16 exclude each other: remove one")]
    assert list(argument_problems("sft", both | {"fp16": False})) == []


def test_what_variantforge_owns_is_never_suggested() -> None:
    assert "Did you mean" not in problem("output_dirr", 1)


def test_every_training_method_has_a_config_class_and_no_other_has() -> None:
    assert set(TRAINER_CONFIGS) == set(METHODS)


def test_methods_that_are_not_known_here_are_passed_over() -> None:
    assert list(argument_problems("later", {"nonsense": 1})) == []
    assert list(argument_problems(3, {"nonsense": 1})) == []


def test_every_owned_argument_exists_or_existed() -> None:
    earlier_versions = {"logging_dir", "overwrite_output_dir"}
    assert set(OWNED) - set(trainer_arguments("sft")) == earlier_versions


def test_what_a_user_tunes_is_not_owned() -> None:
    names = (
        "learning_rate num_train_epochs max_steps max_length packing seed optim warmup_steps weight_decay use_cpu bf16"
    )
    assert [name for name in names.split() if owned(name) or name not in trainer_arguments("sft")] == []


def test_every_default_of_the_imported_class_fits_its_annotation() -> None:
    """The reader's idea of an annotation is right if TRL's own defaults pass it."""
    import trl

    wrong = {}
    for field in dataclasses.fields(trl.SFTConfig):
        default = field.default_factory() if callable(field.default_factory) else field.default
        default = default.value if hasattr(default, "value") else default
        sentence = value_problem(trainer_args.trainer_arguments("sft")[field.name], default)
        if sentence and default is not dataclasses.MISSING and default is not None:
            wrong[field.name] = sentence
    assert wrong == {}
