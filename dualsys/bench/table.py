"""What is compared with what: the variants of a benchmark."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dualsys.config import config_folder
from dualsys.errors import DualsysError, UnknownNameError

PLACEHOLDER = re.compile(r"\{rate of ([^}]*)\}")  # calls per tick of a variant before it


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Overrides of `dualsys eval`, and the variant with which it is compared ("": none)."""

    words: tuple[str, ...]
    against: str = ""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of conf/tables."""

    variants: dict[str, Variant]


def load_table(name: str, only: list[str]) -> dict[str, Variant]:
    """The variants of a table of conf/tables, or of a YAML file; `only` some of them, if any.

    Raises `DualsysError` for a file that is no table, `UnknownNameError` for unknown names.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    folder = config_folder() / "tables"
    path = Path(name) if name.endswith(".yaml") else folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise UnknownNameError("table (or path of a .yaml file)", name, known)
    try:
        found = OmegaConf.to_container(OmegaConf.load(path))
        variants = msgspec.convert(found, Table).variants
    except (OmegaConfBaseException, YAMLError, msgspec.ValidationError) as error:
        raise DualsysError(f"{path} is no table of variants: {error}") from error
    for wanted in only:
        if wanted not in variants:
            raise UnknownNameError("variant", wanted, variants)
    chosen = {name: variant for name, variant in variants.items() if not only or name in only}
    return {
        name: variant if variant.against in chosen else Variant(variant.words)
        for name, variant in chosen.items()
    }


def check(variants: Mapping[str, Variant]) -> None:
    """Raise `DualsysError` for a table in which a variant refers to none, or to a later one."""
    if not variants:
        raise DualsysError("the table holds no variant; choose table=NAME or give some")
    before: list[str] = []
    for name, variant in variants.items():
        if variant.against and variant.against not in variants:
            raise UnknownNameError(f"variant (against, of {name!r})", variant.against, variants)
        for word in variant.words:
            for wanted in PLACEHOLDER.findall(word):
                if wanted not in before:
                    raise UnknownNameError(f"variant before {name!r}", wanted, before)
        before.append(name)
