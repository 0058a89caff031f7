"""Parts of a whole, as one bar."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from variantforge.report.svg.marks import mark, titled

COLOURS = 9  # as many as there are stages


def parts_drawing(parts: Sequence[tuple[str, float]], label: str) -> Markup:
    """``(title, amount)`` side by side over the full width of the page, as shares of their sum."""
    whole = sum(amount for _, amount in parts) or 1.0
    marks, start = [], 0.0
    for number, (title, amount) in enumerate(parts):
        share = 100 * amount / whole
        marks.append(
            titled("rect", title, x=f"{start:.3f}%", width=f"{share:.3f}%", y=0, height=20,
                   class_=f"part p{number % COLOURS}")
        )  # fmt: skip
        start += share
    return mark("svg", mark("title", label), *marks, role="img", aria_label=label, class_="parts", height=20)
