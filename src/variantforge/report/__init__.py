"""What people look at: one HTML file that tells how a family came out.

    gather(plan, store)  ->  Report      what the report says: pure data, read from artifacts
    page(report)            ->  str         one file: styles, drawings and tables inside, nothing fetched

``document`` is the form of what is said; one module gathers each part of it; ``svg/`` draws, ``page`` lays out.
"""

from __future__ import annotations

from variantforge.report.document import Report
from variantforge.report.gather import gather

__all__ = ["Report", "gather"]
