from __future__ import annotations

import pytest

from dualsys.cli import main
from dualsys.config import expand_sweep, load, parse_seeds
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.runtime.assembly import make_trigger
from tests.fakes import SPEC


def test_the_fixed_command_line_composes() -> None:
    words = (
        "scenario=driving/merge system2=scripted runtime=lockstep latency=fixed "
        "latency.system1_ticks=1 seeds=0:50 workers=2 out=DIR"
    )
    config = load("eval", words.split())
    assert config["scenario"] == "driving/merge"
    assert config["latency"]["system1_ticks"] == 1
    assert parse_seeds(config["seeds"]) == list(range(50))


def test_a_misspelt_key_lists_the_valid_ones() -> None:
    with pytest.raises(DualsysError, match=r"'latency.system1_tick'.*mean latency.system1_"):
        load("eval", ["latency.system1_tick=1"])


def test_a_misspelt_choice_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'scriptd'.*'scripted'.*none"):
        load("eval", ["system2=scriptd"])


def test_an_unknown_trigger_lists_the_known_ones() -> None:
    known = "always, learned, never, oracle, periodic, random, uncertainty"
    with pytest.raises(UnknownNameError, match=rf"'periodc'.*'periodic'.*{known}"):
        load("eval", ["trigger=periodc"])
    config = load("eval", ["system2=scripted", "trigger.name=sometimes"])
    with pytest.raises(UnknownNameError, match=rf"trigger 'sometimes'.*{known}"):
        make_trigger(config, SPEC)


def test_a_value_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(DualsysError, match="workers"):
        load("eval", ["workers=many"])


@pytest.mark.parametrize("text", ["", "5:5", "a", "-1", "3:1", "1:2:3"])
def test_seeds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DualsysError, match="seeds="):
        parse_seeds(text)


def test_a_sweep_is_every_combination() -> None:
    jobs = expand_sweep("eval", ["seeds=0:2", "trigger=never,always", "system2=none,scripted"])
    assert len(jobs) == 4
    assert ["seeds=0:2", "trigger=always", "system2=none"] in jobs


def test_the_recipes_differ_where_the_domains_do() -> None:
    words = ["data=DIR", "out=DIR"]
    manipulation = load("train system1", words)
    driving = load("train system1", [*words, "recipe=driving", "steps=10"])
    assert [c["network"]["token_grid"] for c in (manipulation, driving)] == [4, 8]
    assert len(driving["perceive"]) == 12
    assert driving["steps"] == 10


def test_a_value_that_has_to_be_given_is_asked_for() -> None:
    with pytest.raises(DualsysError, match=r"`dualsys train value` needs planner=\.\.\."):
        load("train value", [])


def test_the_help_shows_the_values_and_what_has_to_be_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "value", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "planner: ???" in said
    assert "gamma: 0.8" in said
