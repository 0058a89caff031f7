"""Elements of SVG as text that is escaped already. No style attributes: the page's policy forbids them."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape

Attribute = str | float | int | None


def mark(tag: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """``<tag attributes>children</tag>``; ``stroke_width=2`` writes ``stroke-width``, None writes nothing."""
    told = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{tag}{told}>{inside}</{tag}>" if inside else f"<{tag}{told}/>")


def group(children: Iterable[Markup], **attributes: Attribute) -> Markup:
    return mark("g", *children, **attributes)


def titled(shape: str, title: str, **attributes: Attribute) -> Markup:
    """A shape that tells what it is when pointed at, and to readers of screens."""
    return mark(shape, mark("title", title), **attributes)


def text(x: float, y: float, words: str, **attributes: Attribute) -> Markup:
    return mark("text", words, x=x, y=y, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, class_: str, **attributes: Attribute) -> Markup:
    return mark("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, **attributes)


def drawing(width: float, height: float, label: str, children: Iterable[Markup], class_: str = "") -> Markup:
    """A whole picture with its name; drawn at most as large as it says, and smaller where there is less room."""
    return mark(
        "svg", mark("title", label), *children, role="img", aria_label=label, class_=class_ or None,
        viewBox=f"0 0 {_number(width)} {_number(height)}", width=width, height=height,
    )  # fmt: skip


def _number(value: Attribute) -> str:
    """Tenths of a unit are as fine as anybody sees, and keep equal pictures equal."""
    return f"{round(value, 1) + 0.0:g}" if isinstance(value, float) else str(value)
