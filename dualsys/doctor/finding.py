"""What a check found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

Verdict = Literal["good", "weak", "bad"]
"""Fine; works, but not as well as it could, or a part is not there; nothing will run."""


class Finding(msgspec.Struct, frozen=True):
    """One line of the table; a remedy stands wherever the verdict is not "good"."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


def verdict(findings: Iterable[Finding]) -> Verdict:
    """The worst of them."""
    told = {finding.verdict for finding in findings}
    return "bad" if "bad" in told else "weak" if "weak" in told else "good"
