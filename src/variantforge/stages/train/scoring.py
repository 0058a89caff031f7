"""Rewards between the family file and TRL: checked and pinned while planning, called and watched while training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from variantforge.errors import RewardFailed, VariantforgeError, WrongRows
from variantforge.registry import near
from variantforge.spec.complaints import sentence_of
from variantforge.spec.family import RewardSpec, Section
from variantforge.spec.places import spell_path
from variantforge.stages.train.method import Needs
from variantforge.stages.train.rewards import REWARDS, Answer, Reward, Score
from variantforge.step import Pin, Step

if TYPE_CHECKING:
    from variantforge.stages.stage import Desk


def planned(desk: Desk, rewards: Sequence[RewardSpec]) -> Needs | None:
    """Rewards as parameters and pins of a step. Tells problems at the desk; None after one."""
    key = f"{desk.at_key}.train.rewards"
    if not rewards:
        desk.problem(key, f"grpo needs rewards, e.g. [{{reward: exact_answer}}]. Known: {', '.join(sorted(REWARDS))}.")
        return None
    checked = [_checked(desk, f"{key}[{place}]", spec) for place, spec in enumerate(rewards)]
    if None in checked:
        return None
    if not any(spec.weight for spec in rewards):
        desk.problem(key, "every weight is 0: nothing would be learned")
        return None
    found = [one for one in checked if one]
    pins = {role: pin for _, of_one in found for role, pin in of_one.items()}
    return Needs(params={"rewards": [params for params, _ in found]}, pins=pins)


def _checked(desk: Desk, key: str, spec: RewardSpec) -> tuple[dict[str, Any], Mapping[str, Pin]] | None:
    if spec.reward not in REWARDS:
        desk.problem(f"{key}.reward", REWARDS.unknown(spec.reward))
        return None
    reward = REWARDS.load(spec.reward)
    try:
        params = reward.Params(**spec.params)
    except ValidationError as error:
        for name, text in _told(error, reward.Params):
            desk.problem(f"{key}.{name}".rstrip("."), text)
        return None
    identity = {"reward": spec.reward, "weight": spec.weight, "version": reward.version, "params": params.identity()}
    return identity, reward.pins(params, desk, key)


def _told(error: ValidationError, form: type[Section]) -> Iterator[tuple[str, str]]:
    """pydantic's complaints as ``key, sentence``."""
    for detail in error.errors(include_url=False):
        key = spell_path(detail["loc"])
        if detail["type"] == "extra_forbidden":
            known = [field.alias or name for name, field in form.model_fields.items()]
            yield key, f"unknown key.{near(key, known) or ' Known: ' + (', '.join(known) or 'none') + '.'}"
        elif detail["type"] == "missing":
            yield key, f"missing: {form.model_fields[key].description}"
        else:
            yield key, sentence_of(detail)


def scorers_of(step: Step) -> list[Scorer]:
    """The rewards of a step, ready to score. Raises SandboxMissing, TrainError where one cannot work here."""
    names: Counter[str] = Counter()
    scorers = []
    for told in step.params["rewards"]:
        kind = REWARDS.load(told["reward"])
        names[told["reward"]] += 1
        number = names[told["reward"]]
        name = told["reward"] if number == 1 else f"{told['reward']}_{number}"
        scorers.append(Scorer(name, kind(kind.Params(**told["params"]), step.pins), told["weight"]))
    return scorers


class Scorer:
    """A reward as the function that TRL calls, under the name that its metrics bear. ``reasons``: how often each was
    said."""

    def __init__(self, name: str, reward: Reward, weight: float) -> None:
        self.__name__, self.reward, self.weight = name, reward, weight
        self.reasons: Counter[str] = Counter()
        self._rows: dict[str, Mapping[str, Any]] = {}

    def read(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """The rows that will be answered. Raises WrongRows when one lacks what the reward reads."""
        self._rows = {row["id"]: row for row in rows}
        lacking = [row for row in self._rows.values() if self.reward.reads and not row.get(self.reward.reads)]
        if lacking:
            raise WrongRows(
                f"the reward {self.__name__} cannot score rows of '{lacking[0]['source']}' without "
                f"'{self.reward.reads}': {len(lacking)} of {len(self._rows)}",
                next=f"name the column that holds it (datasets.{lacking[0]['source']}.columns), or take another reward",
            )

    def __call__(
        self,
        prompts: Sequence[str],
        completions: Sequence[str],
        completion_ids: Sequence[Sequence[int]],
        log_extra: Callable[[str, list[Any]], None],
        **_: Any,
    ) -> list[float | None]:
        """``prompts`` are ids of rows. Raises RewardFailed."""
        parts = zip(prompts, completions, completion_ids, strict=True)
        scores = self._scored([Answer(self._rows[name], text, ids) for name, text, ids in parts])
        self.reasons.update(score.why for score in scores if score.why)
        log_extra(self.__name__, [score.why for score in scores])
        return [score.value for score in scores]

    def _scored(self, answers: Sequence[Answer]) -> Sequence[Score]:
        try:
            scores = list(self.reward.score(answers))
        except VariantforgeError:
            raise
        except Exception as error:  # a reward may be anybody's code
            raise RewardFailed(
                f"the reward {self.__name__} broke off: {type(error).__name__}: {error}",
                why="A reward that crashes has no opinion of the answer; counted as zero it would teach a wrong one.",
                next="mend the reward; the same command goes on from the last checkpoint",
            ) from error
        if len(scores) != len(answers):
            raise RewardFailed(f"the reward {self.__name__} gave {len(scores)} scores for {len(answers)} answers")
        for score, answer in zip(scores, answers, strict=True):
            if score.value is not None and not math.isfinite(score.value):
                told = f"the reward {self.__name__} gave {score.value} for an answer to row {answer.row['id']}"
                raise RewardFailed(told, why=f"The answer: {answer.text[:200]}")
        return scores
