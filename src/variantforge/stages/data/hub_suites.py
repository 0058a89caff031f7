"""Items of evaluations that lie on the Hub, at the commit that was pinned: read as the evaluation itself reads them.

They come into the cache of the ``datasets`` library, from which the evaluation takes them later, also without a
network. Where they cannot be had the step ends: data that nobody looked at would count as clean for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from variantforge.errors import DataError
from variantforge.redact import hush_logs
from variantforge.stages.data.decontaminate import texts_of_record
from variantforge.stages.data.hub import quiet
from variantforge.stages.data.sources import present
from variantforge.stages.evaluate.suites import SuiteText


def texts_of_task(task: Mapping[str, Any], commit: str) -> Iterator[SuiteText]:
    """``task``: the ``identity`` of ``HubItems``. Raises DataError where its items cannot be read."""
    for number, values in enumerate(_items(task, commit)):
        yield from texts_of_record(f"{task['task']}/{number}", present(values))


def _items(task: Mapping[str, Any], commit: str) -> Any:
    hush_logs()
    with quiet():
        import datasets

        try:
            kwargs = {**task.get("kwargs", {}), "revision": commit}
            return datasets.load_dataset(task["dataset"], name=task.get("subset"), split=task["split"], **kwargs)
        except Exception as error:  # of many libraries: of the network, of a file, of a cache that has it not
            raise _not_read(task, error) from error


def _not_read(task: Mapping[str, Any], error: Exception) -> DataError:
    from huggingface_hub import constants

    reason = str(error).strip().splitlines()
    offline = "HF_HUB_OFFLINE is set, and they are not in the cache. " if constants.HF_HUB_OFFLINE else ""
    return DataError(
        f"the items of {task['name']} cannot be read, so it cannot be told whether the training data hold them",
        why=f"{offline}{type(error).__name__}: {reason[0][:300] if reason else 'no reason given'}",
        next="run it once with the Hub at hand: later runs find them in the cache; or take the task out of the "
        "evaluation, or data_policy.decontaminate out of the family",
    )
