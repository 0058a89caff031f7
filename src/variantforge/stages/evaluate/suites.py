"""What an evaluator will ask, told before anything is trained: the files it reads, the texts of its suite, so that
training data can be cleaned of them, and the model that judges for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from variantforge.refs import Ref
from variantforge.stages.data.sources import readable
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.stage import Desk
from variantforge.step import Pin

ITEM_NAMES = ("task_id", "id", "question_id", "item", "name")  # fields of a record that name it; the first wins


def item_name(values: Mapping[str, Any], number: int) -> str:
    """What an item of a file is called: as it says itself, else its number among the records, from 1.

    Evaluators and decontamination call it so, both: what the one finds, the other leaves out.
    """
    return next((str(values[field]) for field in ITEM_NAMES if values.get(field) not in (None, "")), str(number))


class SuiteText(NamedTuple):
    """A text of one item of a suite: its prompt, a test, a reference answer. ``code``: it holds Python functions."""

    item: str
    text: str
    code: bool = False


@runtime_checkable
class HasSuite(Protocol):
    """An evaluator of a fixed suite offers its texts. One that measures held-out rows offers none: no row of those,
    and nothing that the policy calls nearly the same, is ever trained on."""

    def suite_texts(self, params: Any) -> Iterable[SuiteText]:
        """Offline, and the same for equal parameters: these are all that enters the key of the data."""


@runtime_checkable
class HasPins(Protocol):
    """An evaluator that reads files of the user's, or datasets of the Hub, pins them."""

    def pins(self, desk: Desk, params: Any, key: str) -> Mapping[str, Pin] | None:
        """Role -> bytes, for every step of the evaluation that stands at ``key``. None when something is not there,
        which is then told through ``desk.problem``."""


class HubItems(NamedTuple):
    """The items of a task that lie on the Hub. ``kwargs``: how else its dataset is loaded."""

    task: str
    ref: Ref
    subset: str | None
    split: str
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As the report of decontamination calls the suite; its items are called ``task/number``, from 0."""
        return f"{self.task} ({self.ref.name})"

    @property
    def identity(self) -> dict[str, Any]:
        told = {"name": self.name, "task": self.task, "dataset": self.ref.name, "split": self.split}
        return told | {name: value for name in ("subset", "kwargs") if (value := getattr(self, name))}


@runtime_checkable
class HasTasks(Protocol):
    """An evaluator whose metrics stand in files: they are known once those are read."""

    def metrics_in(self, params: Any, subject: str, folder: Path) -> tuple[Metric, ...]:
        """As ``metrics``; ``folder`` is the family file's. () also when a file cannot be read, which ``pins`` tells."""

    def suite_files_in(self, params: Any, folder: Path) -> Mapping[str, str]:
        """As ``HasSuiteFiles.suite_files``, of files that the tasks name; paths start in ``folder``."""

    def task_pins(self, params: Any) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """Task files of the user's: as they are written, the role of their pin, and those of what they read."""

    def hub_items_in(self, params: Any, folder: Path) -> Iterable[HubItems]:
        """The items of tasks that lie on the Hub: training data are cleaned of them, too."""

    def datasets(self, params: Any) -> Mapping[str, Ref]:
        """Role of a pin -> the dataset of the Hub, of the tasks that need no file of the user's to be known."""


@runtime_checkable
class HasSuiteFiles(Protocol):
    """An evaluator whose items stand in files of the user's, in whatever fields: training data is cleaned of them, and
    the lock holds them. ``pinned_as``: the role of a key's pin, where it is not called as the key."""

    def suite_files(self, params: Any) -> Mapping[str, str]:
        """The key that names a file -> the file as the user wrote it (``./prompts.jsonl``, ``package:dist/file``)."""


def is_looked_for(name: str) -> bool:
    """Whether decontamination reads a suite's file of that name, as the user wrote it; what it cannot read is told
    where the evaluation stands."""
    return name.startswith(("./", "../", "/", "~/", "package:")) and readable(name)


class Named(NamedTuple):
    """A suite as the report of decontamination names it, and the column of an example that names its item there."""

    suite: str
    column: str


@runtime_checkable
class HasNamedItems(Protocol):
    """An evaluator whose examples can be found again among the items that decontamination looked for: its figures are
    also told without those that the training data hold."""

    def named_suites(self, params: Any, folder: Path) -> Mapping[str, Named]:
        """``source`` of an example (or ``task``, where it has one) -> its suite. Those that are left out are not
        looked for, or their items cannot be told apart."""

    def named_metrics(self, params: Any, subject: str, folder: Path) -> tuple[Metric, ...]:
        """Those of the metrics of ``subject`` that rest on such examples alone."""


@runtime_checkable
class HasJudge(Protocol):
    """An evaluator that asks a model about answers. The stage pins it, lays it out, and sees to its key."""

    def judge(self, params: Any) -> JudgeSpec | None:
        """None where these parameters want none. What ``judges.identity_of`` says of it belongs into ``identity``."""
