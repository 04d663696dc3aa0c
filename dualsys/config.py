"""Configuration: Hydra composition of conf/, and errors that list the valid keys.

This module is the only one that looks for the configuration folder; the types stand in
`dualsys.schemas`.
"""

from __future__ import annotations

import difflib
import itertools
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from dualsys import ranges
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.schemas import COMMANDS


def register() -> None:
    """Give Hydra the types of the groups, so that a misspelt key or a wrong type is refused."""
    store = ConfigStore.instance()
    for name, schema in COMMANDS.items():
        store.store(name=f"{_file(name)}_schema", node=schema)


def _file(command: str) -> str:
    return command.replace(" ", "_").replace("-", "_")


def config_folder() -> Path:
    """The folder with the YAML groups: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "eval.yaml").is_file():
            return folder
    raise DualsysError(f"no conf/ folder beside {package}; reinstall dualsys")


def load(command: str, overrides: list[str]) -> dict[str, Any]:
    """Compose the configuration of `command` as a plain dictionary.

    Raises `DualsysError` with the valid names, with the name of a value that has to be given, or
    with the range of one that is out of it.
    """
    try:
        values = OmegaConf.to_container(_composed(command, overrides), throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise DualsysError(
            f"`dualsys {command}` needs {error.full_key}=...; --help lists keys and choices"
        ) from error
    except (HydraException, ConfigCompositionException, OmegaConfBaseException) as error:
        raise explain(command, overrides, error) from error
    assert isinstance(values, dict)
    config = {str(key): value for key, value in values.items()}
    ranges.check(command, config)
    return config


def defaults(command: str) -> str:
    """The configuration of `command` as YAML; ??? stands where a value has to be given."""
    return OmegaConf.to_yaml(_composed(command, []))


def default(command: str, key: str) -> Any:
    """What `command` has under a key, None where it has no such key or a value has to be given."""
    return OmegaConf.select(_composed(command, []), key, throw_on_missing=False)


def _composed(command: str, overrides: list[str]) -> DictConfig:
    register()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return compose(_file(command), overrides)


def explain(command: str, overrides: list[str], error: Exception) -> DualsysError:
    """Turn Hydra's message into one line that names the bad override and what is valid."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    text = " ".join(str(e).split("\n")[0] for e in chain)
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        group = config_folder() / key
        if group.is_dir() and value and not (group / f"{value}.yaml").is_file():
            names = [p.relative_to(group).with_suffix("") for p in group.rglob("*.yaml")]
            return UnknownNameError(key, value, [str(name) for name in names])
        valid = keys_of(COMMANDS[command])
        if key not in valid and not group.is_dir():
            close = difflib.get_close_matches(key, valid, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            return DualsysError(
                f"unknown key {key!r} of `dualsys {command}`.{hint} Valid: {', '.join(valid)}"
            )
    return DualsysError(f"`dualsys {command}`: {text}")


def choices_of(command: str) -> dict[str, list[str]]:
    """The groups of a command's configuration, each with the names of its files."""
    folder = config_folder()
    file: Any = OmegaConf.load(folder / f"{_file(command)}.yaml")
    listed = file.get("defaults", [])
    names = sorted(str(name) for entry in listed if isinstance(entry, DictConfig) for name in entry)
    return {
        name: sorted(
            str(path.relative_to(folder / name).with_suffix(""))
            for path in (folder / name).rglob("*.yaml")
        )
        for name in names
    }


def keys_of(schema: type[Any], prefix: str = "") -> list[str]:
    """Every key of a command's configuration, with the groups that it stands in: "link.bind"."""
    found: list[str] = []
    node = OmegaConf.structured(schema)
    for key in node:
        kind = node._get_node(key)
        inner = schema.__dataclass_fields__[key]
        child = inner.default_factory if callable(inner.default_factory) else None
        if isinstance(kind, DictConfig) and child is not None:
            found += keys_of(child, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found


def expand_sweep(command: str, overrides: list[str]) -> list[list[str]]:
    """Every combination of the overrides whose values are Hydra sweeps (a,b,c or range(1,4))."""
    parser = OverridesParser.create()
    try:
        parsed = parser.parse_overrides(overrides)
    except HydraException as error:
        raise explain(command, overrides, error) from error
    choices = []
    for override in parsed:
        key = override.get_key_element()
        if override.is_sweep_override():
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([override.input_line or ""])
    return [list(job) for job in itertools.product(*choices)]


def parse_seeds(text: str) -> list[int]:
    """Turn "3", "0:50" (end excluded) or "1,5,9" into seeds. Raises `DualsysError` otherwise."""
    try:
        if ":" in text:
            start, stop = (int(part) for part in text.split(":"))
            seeds = list(range(start, stop))
        else:
            seeds = [int(part) for part in text.split(",")]
    except ValueError:
        seeds = []
    if not seeds or min(seeds) < 0:
        raise DualsysError(
            f"seeds={text} is not a list of seeds; write seeds=0:50 (50 seeds), seeds=7 or "
            "seeds=1,5,9, none negative"
        )
    return seeds
