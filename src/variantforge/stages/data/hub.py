"""Rows of a dataset on the Hub, by id and commit, through the ``datasets`` library; no code of the dataset is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from variantforge.errors import DataError
from variantforge.stages.data.sources import Record, Table


def open_hub(repo: str, commit: str | None, *, subset: str | None, split: str) -> Table:
    """Downloads (or takes from the Hub's cache) one split. Raises DataError when there is none, or no network."""
    data = _load(repo, commit, subset, split)
    name = f"{repo}[{split}]"
    return Table(name, tuple(data.column_names), _records(data, name))


def _load(repo: str, commit: str | None, subset: str | None, split: str) -> Any:
    import datasets

    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(repo, name=subset, split=split, revision=commit)
    except Exception as error:  # many libraries, many kinds of error: all mean that the rows could not be had
        raise DataError(
            f"dataset {repo} (split '{split}'{f', subset {subset!r}' if subset else ''}) cannot be loaded",
            why=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}",
            next=_advice(repo, commit, error),
        ) from error
    finally:
        if bars:
            datasets.enable_progress_bars()


def _advice(repo: str, commit: str | None, error: Exception) -> str:
    at = f" --revision {commit}" if commit else ""
    if isinstance(error, ConnectionError):
        return f"hf download --repo-type dataset {repo}{at}   (on a machine with network; or unset HF_HUB_OFFLINE)"
    return f"look at https://huggingface.co/datasets/{repo} for its subsets and splits, and set subset: and split:"


def _records(data: Any, name: str) -> Iterator[Record]:
    for number, values in enumerate(data, 1):
        yield Record(f"{name}:row {number}", values, number / len(data))
