"""Which format a dataset has: as declared, or by the columns of its first row, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from variantforge.registry import near
from variantforge.stages.data.formats import FORMATS
from variantforge.stages.data.formats.preferences import label_in
from variantforge.stages.data.formats.values import Content, Values, json_value, listed, turns_in
from variantforge.stages.data.sources import BadRow


@dataclass(frozen=True)
class Shape:
    """A format, where its fields stand (``columns``: field -> column), and why it was taken.

    ``doubtful``: the columns fit other formats as well, or a field was found under another name. ``keep``: columns
    that go into a prompt's 'extra'.
    """

    name: str
    columns: Mapping[str, str]
    why: str
    doubtful: bool = False
    keep: tuple[str, ...] = ()

    def column(self, field: str) -> str:
        return self.columns.get(field, field)

    def content(self, values: Values) -> Content:
        """The content of one row. Raises BadRow."""
        form = FORMATS[self.name]
        for field in form.required:
            if self.column(field) not in values:
                raise BadRow(f"no column '{self.column(field)}'", no_column(self.column(field), list(values)))
        content = form.content({field: values.get(self.column(field)) for field in form.fields})
        kept = {name: json_value(values[name], name) for name in self.keep if name in values}
        return content | ({"extra": {**content.get("extra", {}), **kept}} if kept else {})

    @property
    def needed(self) -> list[str]:
        """Columns that every row must have."""
        return [self.column(field) for field in FORMATS[self.name].required]

    @property
    def read(self) -> set[str]:
        """Columns that are read where there are such."""
        return {self.column(field) for field in FORMATS[self.name].fields} | set(self.keep)


def no_column(column: str, present: Sequence[str]) -> str:
    return f"no column '{column}'; the columns are: {listed(present) or 'none'}.{near(column, list(present))}"


def recognise(values: Values, wanted: str, columns: Mapping[str, str], keep: Sequence[str] = ()) -> Shape | None:
    """The shape of a dataset by its first row; None when ``wanted`` is ``auto`` and no format fits."""
    if wanted != "auto":
        return Shape(wanted, columns, "as declared", keep=tuple(keep))
    fitting = [shape for name in FORMATS if (shape := _fitted(name, values, columns))]
    if not fitting:
        return None
    first, *others = fitting
    told = [shape.name for shape in others if shape.name != "prompt_only"]  # a prompt is a part of most others
    why = first.why + (f"; they fit {listed(told)} too: format: {told[0]} reads them so" if told else "")
    guessed = first.name == "preference" and first.columns.keys() > columns.keys()
    return Shape(first.name, first.columns, why, bool(told) or guessed, tuple(keep))


def _fitted(name: str, values: Values, columns: Mapping[str, str]) -> Shape | None:
    form = FORMATS[name]
    if not set(columns) <= set(form.fields):
        return None
    found = dict(columns)
    for field, aliases in form.also.items():
        if field not in columns and field not in values:
            found.update((field, alias) for alias in reversed(aliases) if alias in values)
    shape = Shape(name, found, "")
    if not all(column in values for column in shape.needed):
        return None
    sign = _SIGNS[name] if name in _SIGNS and not columns.keys() & form.required else _by_columns
    why = sign(shape, values)
    return Shape(name, found, why) if why else None


def _by_columns(shape: Shape, values: Values) -> str:
    optional = [shape.column(field) for field in FORMATS[shape.name].optional]
    return f"columns {listed([*shape.needed, *(column for column in optional if column in values)])}"


def _by_turns(shape: Shape, values: Values) -> str:
    """Both names are used for both kinds of turns, so the turns themselves decide."""
    key, own = {"messages": ("role", "messages"), "sharegpt": ("from", "conversations")}[shape.name]
    column = shape.needed[0]
    written = _key_of_turns(values[column])
    return f"column {column}, turns with '{key}'" if written == key or (not written and column == own) else ""


def _key_of_turns(value: Any) -> str:
    """How turns are written; '' when they are not even turns."""
    try:
        first = turns_in(value, "turns")[0]
    except BadRow:
        return ""
    return next((key for key in ("from", "role") if isinstance(first, dict) and key in first), "")


def _by_label(shape: Shape, values: Values) -> str:
    """Many datasets have a 'label' that tells something else."""
    try:
        label_in(values[shape.column("label")])
    except BadRow:
        return ""
    return _by_columns(shape, values)


_SIGNS = {"messages": _by_turns, "sharegpt": _by_turns, "unpaired_preference": _by_label}
