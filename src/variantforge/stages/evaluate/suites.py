"""What an evaluator will ask, told before anything is trained: the files it reads, the texts of its suite, so that
training data can be cleaned of them, and the model that judges for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from variantforge.refs import Ref
from variantforge.stages.evaluate.judges.spec import JudgeSpec
from variantforge.stages.evaluate.metric import Metric
from variantforge.stages.stage import Desk
from variantforge.step import Pin


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


@runtime_checkable
class HasTasks(Protocol):
    """An evaluator whose metrics stand in files: they are known once those are read."""

    def metrics_in(self, params: Any, subject: str, folder: Path) -> tuple[Metric, ...]:
        """As ``metrics``; ``folder`` is the family file's. () also when a file cannot be read, which ``pins`` tells."""

    def suite_files_in(self, params: Any, folder: Path) -> Mapping[str, str]:
        """As ``HasSuiteFiles.suite_files``, of files that the tasks name; paths start in ``folder``."""

    def datasets(self, params: Any) -> Mapping[str, Ref]:
        """Role of a pin -> the dataset of the Hub, of the tasks that need no file of the user's to be known."""


@runtime_checkable
class HasSuiteFiles(Protocol):
    """An evaluator whose items stand in files of the user's, in whatever fields: training data is cleaned of them."""

    def suite_files(self, params: Any) -> Mapping[str, str]:
        """The key that names a file -> the file as the user wrote it (``./prompts.jsonl``, ``package:dist/file``)."""


@runtime_checkable
class HasJudge(Protocol):
    """An evaluator that asks a model about answers. The stage pins it, lays it out, and sees to its key."""

    def judge(self, params: Any) -> JudgeSpec | None:
        """None where these parameters want none. What ``judges.identity_of`` says of it belongs into ``identity``."""
