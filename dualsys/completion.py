"""What a shell may offer after the words so far: commands, keys, and the values that have names."""

from __future__ import annotations

from dualsys.config import choices_of, default, keys_of
from dualsys.errors import UnknownNameError
from dualsys.schemas import COMMANDS

PLAIN = ("completion", "--help")  # take no keys
BENCH = ("--resume", "--markdown")
BOOLEANS = ("true", "false")

# Each asks `dualsys completion LINE`, with the line up to the cursor, for whole words.
SCRIPTS = {
    # Bash breaks words at "=" too, and then wants only what comes after it.
    "bash": r"""_dualsys() {
    local line="${COMP_LINE:0:COMP_POINT}" word IFS=$'\n'
    word="${line##* }"
    COMPREPLY=($(dualsys completion "$line" 2> /dev/null))
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
    fi
    if [[ "${COMPREPLY[0]}" == *= ]]; then compopt -o nospace; fi
}
complete -o default -F _dualsys dualsys
""",
    "zsh": r"""_dualsys() {
    local -a found
    found=("${(@f)$(dualsys completion "${BUFFER[1,CURSOR]}" 2> /dev/null)}")
    compadd -S '' -- $found || _files
}
compdef _dualsys dualsys
""",
    "fish": r"""complete -c dualsys -f -a '(dualsys completion (commandline -cp) 2> /dev/null)'
""",
}


def answer(words: list[str]) -> str:
    """What `dualsys completion` prints: a shell's script, or what may follow a line.

    Raises `UnknownNameError` for a shell that there is no script for.
    """
    asked = words[0] if words else ""
    if asked in SCRIPTS:
        return SCRIPTS[asked]
    if not asked.startswith("dualsys"):
        raise UnknownNameError("shell", asked, SCRIPTS)
    *before, current = asked.split(" ")[1:] or [""]
    return "".join(f"{word}\n" for word in follow([w for w in before if w], current))


def follow(before: list[str], current: str) -> list[str]:
    """The words that begin with `current` and may stand after those `before` it."""
    return [word for word in _offered(before, current) if word.startswith(current)]


def _offered(before: list[str], current: str) -> list[str]:
    names = {name.partition(" ")[0] for name in COMMANDS}
    if not before:
        return sorted(names | set(PLAIN))
    command, given = before[0], before[1:]
    subjects = [name.partition(" ")[2] for name in COMMANDS if name.startswith(f"{command} ")]
    if subjects and not given:
        return sorted(subjects)
    if subjects:
        command, given = f"{command} {given[0]}", given[1:]
    if command == "completion":
        return sorted(SCRIPTS)
    if command not in COMMANDS:
        return []
    key, is_set, _ = current.partition("=")
    if is_set:
        return [f"{key}={value}" for value in _values(command, key)]
    taken = {word.partition("=")[0] for word in given}
    keys = {*keys_of(COMMANDS[command]), *choices_of(command)} - taken
    return [f"{key}=" for key in sorted(keys)] + ["--help", "--json", *_options(command)]


def _options(command: str) -> tuple[str, ...]:
    return BENCH if command == "bench" else ()


def _values(command: str, key: str) -> list[str]:
    """The names that a key can be given, none where it takes anything."""
    from sim import registry

    fields = COMMANDS[command].__dataclass_fields__
    named = choices_of(command)
    if "scenario" in fields:
        named |= {"scenario": list(registry.scenarios()), "suite": sorted(registry.SUITES)}
    if key in named:
        return named[key]
    return list(BOOLEANS) if isinstance(default(command, key), bool) else []
