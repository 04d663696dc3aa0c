"""Python and the packages, against the ranges that dualsys itself states."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterable

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dualsys.doctor.finding import Finding

Installed = Callable[[str], str | None]
OWN = "dualsys"
NOT_FOR_USE = ("dev", "bench", "all")  # extras of those who work on dualsys


def python(version: str, wanted: str) -> Finding:
    """Whether this Python is one of those that dualsys runs on."""
    if SpecifierSet(wanted).contains(version):
        return Finding("Python", "good", version)
    remedy = f"make an environment with a Python {wanted} and install dualsys there"
    return Finding("Python", "bad", version, remedy)


def packages(requirements: Iterable[str], installed: Installed) -> list[Finding]:
    """One line for what everything needs, and one for each extra.

    requirements: as the metadata of dualsys lists them. installed: version of a package, or None.
    """
    groups: dict[str, list[str]] = {"": []}
    for line in requirements:
        requirement = Requirement(line)
        extra = _extra(requirement)
        if extra in NOT_FOR_USE or requirement.name == OWN:
            continue
        groups.setdefault(extra, [])
        fault = _fault(requirement, installed(requirement.name))
        if fault is not None:
            groups[extra].append(fault)
    return [_group(extra, faults) for extra, faults in groups.items()]


def check() -> list[Finding]:
    """This environment's."""
    metadata = importlib.metadata.metadata(OWN)
    wanted = metadata["Requires-Python"]
    found = python(platform.python_version(), wanted)
    return [found, *packages(importlib.metadata.requires(OWN) or [], version_of)]


def version_of(name: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extra(requirement: Requirement) -> str:
    """Which extra asks for it; none: everything does."""
    marker = str(requirement.marker or "")
    return marker.split("extra ==", 1)[1].strip(" \"'") if "extra ==" in marker else ""


def _fault(requirement: Requirement, version: str | None) -> str | None:
    if version is None:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} {version} is not {requirement.specifier}"


def _group(extra: str, faults: list[str]) -> Finding:
    what = f"packages, {extra}" if extra else "packages"
    if not faults:
        return Finding(what, "good", "all there")
    name = f"{OWN}[{extra}]" if extra else OWN
    return Finding(what, "weak" if extra else "bad", "; ".join(faults), f"pip install '{name}'")
