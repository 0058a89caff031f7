"""Which metrics a task has, read from its configuration, and how each is a ratio of two columns summed over items.

The harness calls most of its scores a mean over items, some an exponential of one. Those that are worked out from all
items at once in another way (F1, BLEU, correlation) cannot be resampled by item: they are kept beside the score, but
nothing is judged by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log
from typing import Any, Literal

from variantforge.stages.evaluate.lm_eval.harness import Function
from variantforge.stages.evaluate.metric import Metric

Better = Literal["lower", "higher"]

# Of metrics that the harness registers: how it aggregates them, and which way is good (lm_eval/api/metrics.py).
REGISTERED: Mapping[str, tuple[str, Better]] = {
    "acc": ("mean", "higher"),
    "acc_norm": ("mean", "higher"),
    "acc_bytes": ("mean", "higher"),
    "acc_mutual_info": ("mean", "higher"),
    "acc_all": ("mean", "higher"),
    "exact_match": ("mean", "higher"),
    "likelihood": ("mean", "higher"),
    "brier_score": ("brier_score", "lower"),
    "perplexity": ("perplexity", "lower"),
    "word_perplexity": ("weighted_perplexity", "lower"),
    "byte_perplexity": ("weighted_perplexity", "lower"),
    "bits_per_byte": ("bits_per_byte", "lower"),
    "mcc": ("matthews_corrcoef", "higher"),
    "f1": ("f1", "higher"),
    "bleu": ("bleu", "higher"),
    "chrf": ("chrf", "higher"),
    "chrf++": ("chrf++", "higher"),
    "ter": ("ter", "lower"),
    "bypass": ("bypass", "higher"),
}
DEFAULTS: Mapping[str, tuple[str, ...]] = {  # of tasks that list none
    "loglikelihood": ("perplexity", "acc"),
    "loglikelihood_rolling": ("word_perplexity", "byte_perplexity", "bits_per_byte"),
    "multiple_choice": ("acc", "acc_norm"),
    "generate_until": ("exact_match",),
}
# Functions of the harness's own tasks that average what several lists hold, one list an item.
FLATTENING = ("agg_inst_level_acc",)
_RATIOS = ("mean", "nanmean", "perplexity", "weighted_perplexity", "bits_per_byte", "brier_score", "flattened")
_EXPONENTIAL = ("perplexity", "weighted_perplexity")
NO_FILTER = "none"


@dataclass(frozen=True)
class Scored:
    """One figure of one task, as the harness names it: ``metric,filter``."""

    task: str
    metric: str
    filter: str
    how: str  # one of _RATIOS, else the name of another aggregation
    better: Better | None
    name: str  # as gates and cards name it

    @property
    def key(self) -> str:
        return f"{self.metric},{self.filter}"

    @property
    def is_ratio(self) -> bool:
        return self.how in _RATIOS

    @property
    def as_metric(self) -> Metric:
        scale: Literal["exp", "identity"] = "exp" if self.how in _EXPONENTIAL else "identity"
        return Metric(self.name, self.name, count_of(self.name), self.better, scale)

    def sums(self, value: Any) -> tuple[float, float] | None:
        """``value``, as the harness has it for one item, as what is summed above and below; None: it does not count."""
        match self.how:
            case "perplexity":
                return -float(value), 1
            case "weighted_perplexity":
                return -float(value[0]), float(value[1])
            case "bits_per_byte":
                return -float(value[0]) / log(2), float(value[1])
            case "brier_score":
                gold, chances = value
                return sum((float(chance) - (place == gold)) ** 2 for place, chance in enumerate(chances)), 1
            case "flattened":
                return float(sum(map(float, value))), float(len(value))
            case "nanmean" if isnan(float(value)):
                return None
            case _:
                return float(value), 1

    def share(self, items: int) -> float:
        """What an item weighs, of a task that has so many."""
        return 1.0


def count_of(name: str) -> str:
    return f"{name}:n"


def scored_in(task: str, config: Mapping[str, Any]) -> list[Scored]:
    """The figures of a task, in the order of its list; the first one is called as the task itself.

    ``gsm8k``, ``gsm8k.exact_match.flexible-extract``: the filter is named where a task has several.
    """
    listed = config.get("metric_list") or [{"metric": one} for one in DEFAULTS.get(_output_type(config), ())]
    filters = [str(one.get("name")) for one in config.get("filter_list") or []] or [NO_FILTER]
    found: list[Scored] = []
    for filter in filters:
        for entry in listed:
            metric = _metric_name(entry)
            how, better = _aggregation(entry, metric)
            name = ".".join([task, metric, *([filter] if len(filters) > 1 else [])])
            if "," not in metric:
                found.append(Scored(task, metric, filter, how, better, task if not found else name))
    return found


def _output_type(config: Mapping[str, Any]) -> str:
    return str(config.get("output_type") or "generate_until")


def _metric_name(entry: Mapping[str, Any]) -> str:
    metric = entry.get("metric")
    return metric.name.rpartition(".")[2] if isinstance(metric, Function) else str(metric)


def _aggregation(entry: Mapping[str, Any], metric: str) -> tuple[str, Better | None]:
    default, better = REGISTERED.get(metric, ("", None))
    asked = entry.get("aggregation", default)
    if isinstance(asked, Function):
        last = asked.name.rpartition(".")[2]
        how = "flattened" if last in FLATTENING else f"!function {asked.name}"
    else:
        how = str(asked)
    if isinstance(entry.get("metric"), Function):
        how = f"!function {metric}"  # what it hands back is known when it ran
    if "higher_is_better" in entry:
        better = "higher" if entry["higher_is_better"] else "lower"
    return how, better


# --- groups -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pooled:
    """One figure of a group: the mean of a figure of its tasks, over items, or over tasks (``by_size`` is false)."""

    group: str
    name: str
    parts: tuple[Scored, ...]
    by_size: bool

    @property
    def as_metric(self) -> Metric:
        return Metric(self.name, self.name, count_of(self.name), self.parts[0].better)

    def share(self, items: int) -> float:
        return 1.0 if self.by_size else 1.0 / items


def pooled_in(group: str, config: Mapping[str, Any], members: Sequence[Sequence[Scored]]) -> list[Pooled]:
    """The figures of a group that aggregates; ``members``: those of each of its tasks."""
    listed = config.get("aggregate_metric_list") or []
    found: list[Pooled] = []
    for entry in listed if isinstance(listed, list) else [listed]:
        metric, filters = str(entry.get("metric")), entry.get("filter_list")
        filters = [filters] if isinstance(filters, str) else filters
        for filter in filters or list(dict.fromkeys(one.filter for member in members for one in member)):
            parts = [one for member in members for one in member if (one.metric, one.filter) == (metric, filter)]
            if entry.get("aggregation", "mean") != "mean" or not parts or any(one.how != "mean" for one in parts):
                continue
            told = ".".join([group, metric, *([filter] if filter != NO_FILTER else [])])
            by_size = bool(entry.get("weight_by_size", True))
            found.append(Pooled(group, told if found else group, tuple(parts), by_size))
    return found
