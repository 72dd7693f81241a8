"""Where each setting's value comes from: command line, then --config file, then environment, then default.

`resolve` turns the four sources into one frozen settings object plus the origin of every value. Keys that
are no setting of ours are kept as `extra` for `train`, whose trainer checks them against TRL's own
arguments later: that needs torch, and `--help` must not.
"""

import argparse
import dataclasses
import difflib
import itertools
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from .. import COMMAND
from ..errors import UsageError
from .options import SUBCOMMANDS, Train
from .server_url import ServerUrl, is_secret_name, read_urls, shown_word, without_secrets

ENV_PREFIX = "SDFT_"
COMMAND_LINE = "command line"
PROGRAM = "program"
DEFAULT = "default"
# What Kubernetes and Docker's links put into the environment for a service: SDFT_TRAINER_PORT=tcp://10.0.0.7:6006.
INJECTED = re.compile(r"_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$")
FLAG = re.compile(r"--[A-Za-z][\w-]*")
URL = re.compile(r"https?://\S+")
HABITS = {  # what a setting is called elsewhere
    "lr": "learning_rate",
    "model": "model_name_or_path",
    "model_name": "model_name_or_path",
    "epochs": "num_train_epochs",
    "batch_size": "num_prompts_per_batch",
    "data": "train_data_path",
    "dataset": "train_data_path",
    "dataset_name": "train_data_path",
    "output": "output_dir",
    "url": "vllm_server_base_url",
    "base_url": "vllm_server_base_url",
    "api_key": "vllm_server_api_key",
    "max_new_tokens": "max_completion_length",
    "max_tokens": "max_completion_length",
    "lora": "use_peft",
}
NEAR_MISS = 0.8  # similarity from which an unknown name is taken for a setting mistyped


@dataclass(frozen=True)
class Resolved:
    """A settings object, the origin of each value, and the keys left for TRL's own training arguments."""

    settings: Any
    origins: dict[str, str]
    extra: dict[str, Any]


def resolve(subcommand: str, argv: list[str], environ: Mapping[str, str]) -> Resolved:
    """Settings of `subcommand` from `argv`, the file it may name, `environ` and the defaults.

    Raises:
        UsageError: unknown key (names the nearest known one), value of a wrong type or outside its choices,
            unreadable configuration file.
    """
    kind = SUBCOMMANDS[subcommand]
    file, typed_in = parse_command_line(subcommand, argv)
    sources = [(COMMAND_LINE, typed_in)]
    if file is not None:
        sources.append((f"file {file}", read_config_file(file)))
    sources += [(ENV_PREFIX + key.upper(), {key: value}) for key, value in from_environment(kind, environ).items()]

    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, source in sources:
        for key, value in source.items():
            if key not in origins:
                values[key], origins[key] = value, origin

    options = {f.name: f for f in dataclasses.fields(kind)}
    extra = {key: as_text(values.pop(key)) for key in list(values) if key not in options}
    unknown = next((key for key in extra if kind is not Train or HABITS.get(key) in options), None)
    if unknown is not None:
        raise unknown_key(unknown, origins[unknown], options)
    converted = {key: convert(options[key], value, origins[key]) for key, value in values.items()}
    return Resolved(kind(**converted), {**dict.fromkeys(options, DEFAULT), **origins}, extra)


def made_by_program(kind: type, settings: Any, extra: Mapping[str, Any] | None = None) -> Resolved:
    """Settings that a Python program made, checked as those of a command are; nothing else gives them values.

    Args:
        kind: What the settings have to be.
        extra: Arguments of TRL's, for `train`.

    Raises:
        UsageError: settings of another kind; a value of a wrong type or outside its choices; a setting among TRL's
            arguments.
    """
    expected = f"{kind.__name__}Settings(…)"
    if not isinstance(settings, kind):
        raise UsageError(f"found {type(settings).__name__}, expected {expected}.")
    options = {f.name: f for f in dataclasses.fields(kind)}
    misplaced = next((name for name in extra or {} if name in options), None)
    if misplaced is not None:
        raise UsageError(f"found {misplaced} beside the settings, expected it in {expected}.")
    given = {name: value for name, f in options.items() if (value := getattr(settings, name)) != f.default}
    checked = {
        name: value if isinstance(value, ServerUrl) else convert(options[name], value, PROGRAM)
        for name, value in given.items()
    }
    origins = {**dict.fromkeys(options, DEFAULT), **dict.fromkeys([*given, *(extra or {})], PROGRAM)}
    return Resolved(
        dataclasses.replace(settings, **checked), origins, {key: as_text(value) for key, value in (extra or {}).items()}
    )


def as_text(value: Any) -> Any:
    """A scalar as the command line would give it, so that `3` in a file and `3` typed in are the same setting."""
    if isinstance(value, list | dict):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_command_line(subcommand: str, argv: list[str]) -> tuple[str | None, dict[str, Any]]:
    """The `--config` file and every flag that `argv` sets, as text. `--help` prints and exits."""
    parser = build_parser(subcommand)
    argv = tidied(argv, SUBCOMMANDS[subcommand])
    leading = [*itertools.takewhile(lambda word: not word.startswith("-"), argv)]
    namespace, rest = parser.parse_known_args(argv[len(leading) :])
    given, first = vars(namespace), positional(SUBCOMMANDS[subcommand])
    unexpected = leading if first is None else [] if value_type(first) is tuple else leading[1:]
    if unexpected:
        raise UsageError(
            f"found {shown_word(unexpected[0])}, expected a --flag. Type `{parser.prog} --help` for the flags."
        )
    if leading and first is not None:
        if first.name in given:
            found = f"{shown_word(leading[0])} and --{first.name} {shown_word(given[first.name])}"
            raise UsageError(f"found {found}; give one of them.")
        given[first.name] = leading if value_type(first) is tuple else leading[0]
    return given.pop("config", None), given | pair_unknown_flags(rest)


def tidied(argv: Sequence[str], kind: type) -> list[str]:
    """`argv` with underscores for the dashes of flags, as TRL's parser has it, and the server's URL first.

    A URL stands for itself wherever no flag asks for it: behind the value of one, or behind one that takes none.
    """
    words = [_with_underscores(word) for word in argv]
    switches = {f"--{f.name}" for f in dataclasses.fields(kind) if value_type(f) is bool}
    first = positional(kind)
    if first is None or not first.metadata["is_url"]:
        return words
    before = ["", *words]
    free = {
        place
        for place, word in enumerate(words)
        if URL.fullmatch(word)
        and (not before[place].startswith("--") or "=" in before[place] or before[place] in switches)
    }
    return [words[place] for place in sorted(free)] + [word for place, word in enumerate(words) if place not in free]


def _with_underscores(word: str) -> str:
    name, sign, value = word.partition("=")
    return name[:2] + name[2:].replace("-", "_") + sign + value if FLAG.fullmatch(name) else word


def positional(kind: type) -> dataclasses.Field | None:
    """The setting that may come first without its flag."""
    return next((f for f in dataclasses.fields(kind) if f.metadata["positional"]), None)


def build_parser(subcommand: str) -> argparse.ArgumentParser:
    """The parser of a subcommand; it collects texts, `convert` gives them their types."""
    kind, first = SUBCOMMANDS[subcommand], positional(SUBCOMMANDS[subcommand])
    parser = _Parser(
        prog=f"{COMMAND} {subcommand}",
        usage=" ".join(["%(prog)s", *([f"[{first.metadata['positional']}]"] if first else []), "[--flag value …]"]),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        epilog="Any other TrainingArguments flag of TRL works too." if kind is Train else None,
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="settings as YAML; the command line wins over it")
    for f in dataclasses.fields(kind):
        parser.add_argument(f"--{f.name}", **_flag(f))
    return parser


def _flag(f: dataclasses.Field) -> dict[str, Any]:
    text = f.metadata["help"].replace("%", "%%")
    shown = "" if f.metadata["secret"] or f.default is None else f" [{_abridged(f.default)}]"
    flag: dict[str, Any] = {"help": text + shown.replace("%", "%%")}
    if value_type(f) is bool:
        return flag | {"nargs": "?", "const": "true", "metavar": "BOOL"}
    if value_type(f) is tuple:
        return flag | {"nargs": "+", "metavar": f.metadata["positional"].split()[0]}
    choices = f.metadata["choices"]
    return flag | {"metavar": "{" + ",".join(choices) + "}" if choices else value_type(f).__name__.upper()}


def _abridged(value: Any) -> str:
    text = repr(value) if value == "" else str(value)
    return text if len(text) <= 40 else repr(text[:36]) + "…"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. Type `{self.prog} --help` for the flags.")


def pair_unknown_flags(rest: list[str]) -> dict[str, Any]:
    """`["--a", "1", "--b"]` as `{"a": "1", "b": "true"}`; several values of one flag become a list."""
    pairs: dict[str, Any] = {}
    key = None
    for token in rest:
        if token.startswith("--"):
            key, _, value = token[2:].partition("=")
            pairs[key] = [value] if value else []
        elif key is None:
            raise UsageError(
                f"found the argument {shown_word(token)}, expected a --flag. Put a flag's name before its value, and "
                "what has none before all flags."
            )
        else:
            pairs[key].append(token)
    return {key: "true" if not values else values[0] if len(values) == 1 else values for key, values in pairs.items()}


def read_config_file(path: str) -> dict[str, Any]:
    """The mapping in a YAML file; keys are setting names."""
    from .yaml_files import NotYaml, read_yaml_file

    try:
        content = read_yaml_file(Path(path))
    except OSError as error:
        raise UsageError(f"can't read the configuration file {path}: {error.strerror}.") from error
    except NotYaml as error:
        raise UsageError(f"{path} is not valid YAML: {error}. Mend it, or pass another --config.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}, expected `name: value` lines.")
    return {str(key): value for key, value in content.items()}


def from_environment(kind: type, environ: Mapping[str, str]) -> dict[str, str]:
    """Settings of `kind` given as `SDFT_NAME`; empty texts count as not given, as Compose passes unset ones."""
    known = {f.name for f in dataclasses.fields(kind)}
    elsewhere = {f.name for other in SUBCOMMANDS.values() for f in dataclasses.fields(other)}
    found = {}
    for variable, text in environ.items():
        key = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX) or text == "":
            continue
        if key in known:
            found[key] = text
        elif key not in elsewhere and not INJECTED.search(variable):
            if difflib.get_close_matches(key, elsewhere, n=1, cutoff=NEAR_MISS):
                raise unknown_key(key, f"environment variable {variable}", elsewhere)
            hint = "; flags of TRL's go on the command line or into --config" if kind is Train else ""
            print(
                f"warning: the environment variable {variable} is no setting, and is ignored{hint}",
                file=sys.stderr,
            )
    return found


def unknown_key(key: str, origin: str, known: Iterable[str]) -> UsageError:
    """The error for a key that means nothing, with the nearest one that does."""
    names = list(known)
    near = [name for name in (HABITS.get(key),) if name in names] or difflib.get_close_matches(key, names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else f"`{COMMAND} SUBCOMMAND --help` lists the settings."
    return UsageError(f"unknown setting {key!r} (from {origin}). {hint}")


def value_type(f: dataclasses.Field) -> type:
    """The type of a setting's value, without its `| None`; `tuple` for several texts."""
    if isinstance(f.type, types.UnionType):
        return next(t for t in typing.get_args(f.type) if t is not type(None))
    return typing.cast(type, typing.get_origin(f.type) or f.type)


def convert(f: dataclasses.Field, value: Any, origin: str) -> Any:
    """`value`, a text or what YAML made of one, as the type of setting `f`."""
    if value is None:
        return f.default
    wanted = value_type(f)
    try:
        result = AS_TYPE.get(wanted, partial(_as_number_or_text, wanted))(value)
    except ValueError:
        shown = "***" if f.metadata["secret"] else shown_word(value)
        raise UsageError(f"{f.name}={shown} (from {origin}): expected {_article(wanted)}.") from None
    if any(isinstance(text, str) and not text.strip() for text in (result if wanted is tuple else (result,))):
        raise UsageError(
            f"{f.name}={value!r} (from {origin}): expected {_article(wanted)}, and this is empty. Perhaps a variable "
            f"of the shell is not set. Leave {f.name} out for its default."
        )
    if f.metadata["is_url"]:
        return read_urls(result)
    choices = f.metadata["choices"]
    if choices and result not in choices:
        raise UsageError(f"{f.name}={value!r} (from {origin}): expected one of {', '.join(choices)}.")
    low, high = f.metadata["at_least"], f.metadata["at_most"]
    if (low is not None and not result >= low) or (high is not None and not result <= high):
        bounds = f"at least {low}" + ("" if high is None else f" and at most {high}")
        raise UsageError(f"{f.name}={value!r} (from {origin}): expected {bounds}.")
    return result


def _as_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _as_texts(value: Any) -> tuple[str, ...]:
    return tuple(_as_number_or_text(str, each) for each in (value if isinstance(value, list | tuple) else [value]))


def _as_number_or_text(wanted: type, value: Any) -> Any:
    if isinstance(value, list | dict | bool):
        raise ValueError(value)
    return wanted(value) if not (wanted is int and isinstance(value, float)) else wanted(str(value))


AS_TYPE: dict[type, Callable[[Any], Any]] = {bool: _as_bool, tuple: _as_texts}


def _article(wanted: type) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", tuple: "texts"}
    return names[wanted]


def show(resolved: Resolved) -> str:
    """One line a setting: name, value, origin. Secrets are masked."""
    rows = []
    for f in dataclasses.fields(resolved.settings):
        value = getattr(resolved.settings, f.name)
        text = "***" if f.metadata["secret"] and value else _abridged(value)
        rows.append((f.name, text, resolved.origins[f.name]))
    for key, value in resolved.extra.items():
        rows.append((key, "***" if is_secret_name(key) else without_secrets(str(value)), resolved.origins[key]))
    width = max(len(name) for name, _, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}  ({origin})" for name, value, origin in rows)
