"""Arguments of TRL's trainers that variantforge sets itself, each with the reason a user is told."""

from __future__ import annotations

from functools import cache

_FOLDER = "variantforge keeps a step's results in its own store"
_CHECKPOINTS = "variantforge saves checkpoints itself, so that a killed training goes on from the last whole one"
_HUB = "variantforge publishes in its own stage, after the gates: see 'publish'"
_EVALUATION = "variantforge measures in its own stage, on the files that ship: see 'evaluate' and 'gates'"
_LOGS = "every metric is always written to events.jsonl; how often is set with logging_steps"
_ROWS = "variantforge tokenizes the rows itself and decides from them what is supervised: see 'datasets'"
_TEMPLATE = "the tokenizer and its chat template are the base's, so that what ships answers as it was trained"
_PROCESSES = "how processes share a training changes no weight: see 'resources.accelerate.fsdp'"
_BEST = "the last state is what is kept; gates judge it"

OWNED = {
    "output_dir": _FOLDER,
    "overwrite_output_dir": _FOLDER,
    "resume_from_checkpoint": _CHECKPOINTS,
    "enable_jit_checkpoint": _CHECKPOINTS,
    "ignore_data_skip": _CHECKPOINTS,
    "restore_callback_states_from_checkpoint": _CHECKPOINTS,
    "load_best_model_at_end": _BEST,
    "metric_for_best_model": _BEST,
    "greater_is_better": _BEST,
    "do_train": "the family file says what is done: a variant with 'data' is trained",
    "do_eval": _EVALUATION,
    "do_predict": _EVALUATION,
    "per_device_eval_batch_size": _EVALUATION,
    "prediction_loss_only": _EVALUATION,
    "batch_eval_metrics": _EVALUATION,
    "include_for_metrics": _EVALUATION,
    "bf16_full_eval": _EVALUATION,
    "fp16_full_eval": _EVALUATION,
    "label_names": _ROWS,
    "logging_dir": _LOGS,
    "logging_strategy": _LOGS,
    "logging_nan_inf_filter": "a loss that is NaN or infinite always stops the training",
    "disable_tqdm": "progress is shown by variantforge: as bars on a terminal, else as lines",
    "remove_unused_columns": _ROWS,
    "dataset_text_field": _ROWS,
    "dataset_kwargs": _ROWS,
    "dataset_num_proc": _ROWS,
    "assistant_only_loss": _ROWS,
    "completion_only_loss": _ROWS,
    "chat_template_path": _TEMPLATE,
    "eos_token": _TEMPLATE,
    "pad_token": _TEMPLATE,
    "model_init_kwargs": "variantforge loads the base itself: see 'base' and 'train.adapter'",
    "trust_remote_code": "code that comes with a model is never run",
    "local_rank": "it is set by the launcher of a training on several devices",
    "fsdp": _PROCESSES,
    "fsdp_config": _PROCESSES,
    "auto_find_batch_size": "it would change the result behind the family file's back: "
    "set per_device_train_batch_size and gradient_accumulation_steps",
}

_OWNED_GROUPS = {
    "hub_": _HUB,
    "push_to_hub": _HUB,
    "save_": _CHECKPOINTS,
    "eval_": _EVALUATION,
}

_GENERATES = "answers are generated in the evaluate stage, of the files that ship: see 'evaluate'"
_SAMPLES = "some answers of every step are always kept, with their rewards: see completions.jsonl"
_DECODER = "the models trained here are decoders alone"
_TEACHER = "variantforge pins the teacher and loads it itself: see 'train.teacher'"
_PRINTED = "answers of the student are not printed; how long they are stands in events.jsonl"

# What only one method's config class has, or what cannot work with it.
OWNED_BY_METHOD = {
    "distill": {
        "teacher_model_name_or_path": _TEACHER,
        "teacher_model_revision": _TEACHER,
        "teacher_model_init_kwargs": _TEACHER,
        "chat_template_kwargs": _TEMPLATE,
        "max_tool_calling_iterations": "the student is offered no tools that could be called while it is trained",
        "log_completions": _PRINTED,
        "log_unique_prompts": _PRINTED,
        "num_completions_to_print": _PRINTED,
    },
    "dpo": {"padding_free": "TRL's DPOTrainer has no batches without padding at present, and would pad all the same"},
    "orpo": {
        "generate_during_eval": _GENERATES,
        "is_encoder_decoder": _DECODER,
        "max_completion_length": f"it is for encoder-decoders, and {_DECODER}: see max_length",
        "padding_value": _TEMPLATE,
    },
    "grpo": {
        "reward_weights": "each reward has its weight beside it: see 'train.rewards'",
        "log_completions": _SAMPLES,
        "log_completions_hub_repo": _SAMPLES,
        "log_multimodal": _SAMPLES,
        "log_unique_prompts": _SAMPLES,
        "num_completions_to_print": _SAMPLES,
        "num_generations_eval": _EVALUATION,
        "use_transformers_paged": "TRL has renamed it: use_transformers_continuous_batching",
        "vllm_importance_sampling_cap": "TRL has renamed it: vllm_importance_sampling_clip_max",
        "max_tool_calling_iterations": "the model is offered no tools that could be called while it is trained",
    },
}

# Where metrics are sent beside events.jsonl. They change no weight, hence no key.
TRACKING = ("report_to", "run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id")


def is_tracking(name: str) -> bool:
    """Whether an argument only says where metrics are sent."""
    return name in TRACKING


@cache
def owned(name: str, method: str = "") -> str:
    """Why an argument cannot be set in ``train.args`` of a method, or ''."""
    if why := OWNED.get(name) or OWNED_BY_METHOD.get(method, {}).get(name):
        return why
    return next((why for start, why in _OWNED_GROUPS.items() if name.startswith(start)), "")
