"""Where code that a model wrote is run, and nowhere else: behind bubblewrap's walls, judged from outside."""

from __future__ import annotations

from variantforge.sandbox.box import TIMEOUT
from variantforge.sandbox.cases import BadTests, Tests, read_tests
from variantforge.sandbox.judge import Grade, grade, grade_all, run_python
from variantforge.sandbox.limits import Limits
from variantforge.sandbox.probes import Probe, require, try_probes, version

__all__ = [
    "TIMEOUT",
    "BadTests",
    "Grade",
    "Limits",
    "Probe",
    "Tests",
    "grade",
    "grade_all",
    "read_tests",
    "require",
    "run_python",
    "try_probes",
    "version",
]
