"""Tasks made and asked by the installed harness: its own prompts, filters and metrics, none of its models.

What the harness does beside (bars, log lines, templates that may reach anything) is kept out.
"""

from __future__ import annotations

import copy
import logging
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from variantforge.errors import EvaluateError, VariantforgeError
from variantforge.stages.evaluate.lm_eval.harness import Function
from variantforge.stages.evaluate.lm_eval.leaves import Leaf, hub_dataset, role_of_dataset
from variantforge.step import Pin

Outcomes = dict[str, Any]


def made(leaf: Leaf, pins: Mapping[str, Pin], scratch: Path) -> Any:
    """The task with its data. Raises EvaluateError when they cannot be had."""
    from lm_eval.api.task import ConfigurableTask

    config = _resolved(dict(leaf.config) | {"metric_list": leaf.metric_list})
    config = {key: value for key, value in config.items() if value is not None}
    kwargs = dict(config.get("dataset_kwargs") or {})
    kwargs.pop("trust_remote_code", None)
    if ref := hub_dataset(leaf):
        kwargs["revision"] = pins[role_of_dataset(ref.name)].at.rpartition("@")[2]
    else:
        kwargs["data_files"] = {split: [str(file) for file in files] for split, files in leaf.data_files().items()}
        kwargs["cache_dir"] = str(scratch / "datasets")
    config["dataset_kwargs"] = kwargs
    config["metadata"] = config["metadata"] if isinstance(config.get("metadata"), dict) else {}
    try:
        return ConfigurableTask(config=config)
    except Exception as error:  # of many libraries: of the network, of a file, of a template
        raise _not_made(leaf, error) from error


def _not_made(leaf: Leaf, error: Exception) -> EvaluateError:
    from huggingface_hub import constants

    offline = bool(constants.HF_HUB_OFFLINE) and hub_dataset(leaf) is not None
    reason = str(error).strip().splitlines()
    return EvaluateError(
        f"the task {leaf.name} cannot be prepared: {type(error).__name__}",
        why=(f"Its data, {leaf.dataset}, lie on the Hub, and HF_HUB_OFFLINE is set. " if offline else "")
        + (reason[0][:500] if reason else ""),
        next="unset HF_HUB_OFFLINE; or write a task file of your own that reads local files (dataset_path: json)"
        if offline
        else f"look at the task's file, {leaf.path.name}, and at its data ({leaf.dataset}); then run the same command",
    )


def _resolved(value: Any) -> Any:
    """``!function`` markers as what they name, of the installed harness."""
    from lm_eval.tasks._yaml_loader import _import_func_in_yml

    match value:
        case Function(name, folder):
            return _import_func_in_yml(name, folder)
        case dict():
            return {key: _resolved(inner) for key, inner in value.items()}
        case list():
            return [_resolved(inner) for inner in value]
        case _:
            return copy.deepcopy(value)


def configured(task: Any, *, num_fewshot: int | None, gen_kwargs: Mapping[str, Any], fewshot_seed: int) -> None:
    """What the harness's own command does with its options: a task that says 0 shots keeps them."""
    if gen_kwargs and task.get_config("output_type") == "generate_until":
        task.set_config(key="generation_kwargs", value=dict(gen_kwargs), update=True)
    own = task.get_config("num_fewshot")
    if num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=fewshot_seed)


def seed_all(random_seed: int, numpy_seed: int, torch_seed: int) -> None:
    import numpy as np
    import torch

    random.seed(random_seed)
    np.random.seed(numpy_seed)  # tasks draw from it
    torch.manual_seed(torch_seed)


def asked(subject: Any, tasks: Mapping[str, Any], **how: Any) -> Outcomes:
    """All items asked and judged. Raises EvaluateError naming the item when judging one crashes."""
    from lm_eval.evaluator import evaluate

    for name, task in tasks.items():
        _name_crashes(name, task)
    outcomes: Outcomes | None = evaluate(
        lm=subject, task_dict={"tasks": dict(tasks), "groups": {}}, bootstrap_iters=0, log_samples=True, **how
    )
    assert outcomes is not None  # this is the only process
    return outcomes


def _name_crashes(name: str, task: Any) -> None:
    """What breaks off while an item's question is written, or its answer judged, is an error with the item's id."""
    for method, doing in (
        ("fewshot_context", "writing"),
        ("construct_requests", "writing"),
        ("process_results", "judging"),
    ):
        setattr(task, method, _named(getattr(task, method), f"{doing} item {name}", task))


def _named(work: Any, doing: str, task: Any) -> Any:
    """Items come in their order: all of them once, or once for each filter."""
    calls = iter(range(1 << 62))

    def named(*args: Any, **kwargs: Any) -> Any:
        place = next(calls)
        try:
            return work(*args, **kwargs)
        except VariantforgeError:
            raise
        except Exception as error:
            items = {instance.doc_id for instance in getattr(task, "_instances", None) or ()}
            raise EvaluateError(
                f"{doing}/{place % len(items) if items else place} broke off: {type(error).__name__}",
                why=str(error),
                next="nothing was scored; mend this item or the task's file, or leave the task out",
            ) from error

    return named


class NoSuchChoice(ValueError):
    """The right answer of an item is none of its choices: the harness would count it as wrong for every model."""


def _no_choice(text: str, *args: Any) -> None:
    if text.startswith("Label index was not in"):
        raise NoSuchChoice("the right answer is none of the choices")


# --- quietly, and within walls ----------------------------------------------------------------------------------


@contextmanager
def hushed() -> Iterator[None]:
    """Inside, the harness shows no bars and no log lines below an error, and its templates reach values alone."""
    import lm_eval.api.model
    import lm_eval.api.task
    import lm_eval.utils
    from datasets import disable_progress_bars, enable_progress_bars, is_progress_bar_enabled

    from variantforge.stages.models import quiet

    logger, bars = logging.getLogger("lm_eval"), is_progress_bar_enabled()
    level = logger.level
    with ExitStack() as stack:
        stack.enter_context(quiet())
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for module in (lm_eval.api.task, lm_eval.api.model):
            stack.enter_context(_instead(module, "tqdm", _no_bar))
        stack.enter_context(_instead(lm_eval.api.task.eval_logger, "warning", _no_choice))
        stack.enter_context(_instead(lm_eval.utils, "env", _templates(lm_eval.utils.env.filters)))
        logger.setLevel(logging.ERROR)
        disable_progress_bars()
        try:
            yield
        finally:
            logger.setLevel(level)
            if bars:
                enable_progress_bars()


@contextmanager
def _instead(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _no_bar(items: Iterable[Any], *args: Any, **kwargs: Any) -> Iterable[Any]:
    return items


def _templates(filters: Mapping[str, Any]) -> Any:
    """As the harness's own, but a template cannot reach from a value to Python's insides."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters.update(filters)
    return environment
