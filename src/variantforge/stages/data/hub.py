"""Rows of a dataset on the Hub, by id and commit, streamed by the ``datasets`` library; no code of the dataset is run.

Nothing of the dataset is kept on disk: the rows step writes what it reads, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from variantforge.errors import DataError, VariantforgeError
from variantforge.redact import hush_logs
from variantforge.stages.data.sources import Record, Table, present


def open_hub(repo: str, commit: str, *, subset: str | None, split: str) -> Table:
    """Starts to read one split. Raises DataError when there is none, or no network; so may its records."""
    told = f"dataset {repo} (split '{split}'{f', subset {subset!r}' if subset else ''})"
    data = _load(told, repo, commit, subset, split)
    columns = tuple(data.column_names) if data.column_names else None
    return Table(f"{repo}[{split}]", columns, _records(data, repo, commit, told, split))


def _load(told: str, repo: str, commit: str, subset: str | None, split: str) -> Any:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise DataError(
            f"{told} lies on the Hub, and HF_HUB_OFFLINE is set",
            next=f"unset HF_HUB_OFFLINE; or, on a machine with network: {_download(repo, commit)}   "
            "and name that folder as the dataset's path",
        )
    with quiet():
        import datasets

        try:
            return datasets.load_dataset(repo, name=subset, split=split, revision=commit, streaming=True)
        except Exception as error:  # many libraries, many kinds of error: all mean that the rows could not be had
            _cannot(f"{told} cannot be loaded", repo, commit, error)


def _records(data: Any, repo: str, commit: str, told: str, split: str) -> Iterator[Record]:
    number, count = 0, _count(data, split)
    try:
        for number, values in enumerate(data, 1):
            yield Record(f"{repo}[{split}]:row {number}", present(values), min(number / count, 1.0) if count else 0.0)
    except (GeneratorExit, VariantforgeError):
        raise
    except Exception as error:  # the network, or a file that is not what its name says
        _cannot(f"{told} cannot be read on after row {number:,}", repo, commit, error)


def _count(data: Any, split: str) -> int:
    """How many rows the dataset's card says there are; 0 when it says nothing."""
    told = (data.info.splits or {}).get(split)
    return told.num_examples or 0 if told else 0


def _cannot(what: str, repo: str, commit: str, error: Exception) -> NoReturn:
    reason = str(error).strip().splitlines()
    why = f"{type(error).__name__}: {reason[0][:300] if reason else 'no reason given'}"
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        advice = f"run the same command again; or {_download(repo, commit)}   and name that folder as its path"
    else:
        advice = f"look at https://huggingface.co/datasets/{repo} for its subsets and splits; set subset: and split:"
    raise DataError(what, why=why, next=advice) from error


def _download(repo: str, commit: str) -> str:
    return f"hf download --repo-type dataset {repo} --revision {commit} --local-dir ./{repo.split('/')[-1]}"


@contextmanager
def quiet() -> Iterator[None]:
    import datasets

    hush_logs()
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if bars:
            datasets.enable_progress_bars()
