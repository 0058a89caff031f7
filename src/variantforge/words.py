"""How figures read: sizes, durations, counts. Pure functions of numbers."""

from __future__ import annotations


def size(size_bytes: float) -> str:
    """``1234567`` → ``1.2 MB`` (powers of ten, as disks and the Hub count)."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """``83`` → ``1 min 23 s``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def counted(count: int, noun: str) -> str:
    """``1, "step"`` → ``1 step``; ``2, "step"`` → ``2 steps``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def figure(value: float) -> str:
    """Four digits that matter: ``1.234``, ``0.01234``, ``12,345``."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
