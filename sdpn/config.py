"""Configuration: dataclasses read from YAML, every key checked once, at the door.

A configuration is a frozen dataclass whose fields are declared with `value`, so that what is allowed stands beside
what it is. `read` fills it from a YAML file and from overrides given on the command line.
`sdpn.recipe.program.settings` makes its fields options of a program, Kaldi's way of changing a setting (`batch_size`
becomes `--batch-size`), and `parse` reads the words that run.sh is given for one.

Only YAML files need a package that Python does not bring: run.sh checks settings before the environment is built.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import MISSING
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sdpn.errors import SdpnError, refuse_unknown

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_MOST_VALUES = 100_000  # in a file

T = TypeVar("T", bound="DataclassInstance")


def value(
    default: Any = MISSING,
    help: str = "",
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    one_of: tuple | None = None,
) -> Any:
    """Declare a field: its default, one line of help, and what is allowed (for a list: of every element)."""
    limits = {"at_least": at_least, "above": above, "at_most": at_most, "below": below, "one_of": one_of}
    metadata = {"help": help, **{name: limit for name, limit in limits.items() if limit is not None}}
    if isinstance(default, (list, dict)) or (callable(default) and default is not MISSING):
        factory = default if callable(default) else lambda: type(default)(default)
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def read(path: str | Path | None, cls: type[T], overrides: dict[str, Any] | None = None) -> T:
    """Read `path` (YAML) as a `cls`; keys of `overrides` that are not None take the place of the file's.

    A class may define `check(self)`, which raises ValueError with a sentence where fields do not fit together.

    Raises:
        SdpnError: the file is missing or is not YAML, a key is unknown or missing, a value has the wrong type or
            is not allowed. The sentence names the file, the key and what is allowed.
    """
    tree = {} if path is None else read_tree(path)
    given = {key: override for key, override in (overrides or {}).items() if override is not None}
    return build(cls, {**tree, **given}, str(path or "command line"))


def read_tree(path: str | Path) -> dict[str, Any]:
    """Read the keys and values of a YAML file, unchecked.

    Raises:
        SdpnError: the file is missing, or is not YAML of `key: value` lines.
    """
    import yaml  # here, so that this module can be imported before the environment is built

    try:
        tree = parse_yaml(Path(path).read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise SdpnError(f"{path}: there is no such configuration file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SdpnError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise SdpnError(f"{path}: expected `key: value` lines")
    return dict(tree)


def parse_yaml(text: str) -> Any:
    """Read YAML of plain data.

    Raises:
        yaml.YAMLError: it is not valid; or it is nested too deeply, or its aliases make more of it than any
            configuration has: a few lines can stand for billions of values.
    """
    import yaml

    try:
        tree = yaml.safe_load(text)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    found, unseen = 0, [tree]
    while unseen:
        node = unseen.pop()
        found += 1
        if found > _MOST_VALUES:
            raise yaml.YAMLError(f"its aliases stand for more than {_MOST_VALUES} values")
        if isinstance(node, dict):
            unseen += node.values()
        elif isinstance(node, (list, tuple, set)):
            unseen += node
    return tree


def refuse_unknown_choices(config: Any) -> None:
    """Make sure that every field declared with `one_of` holds one of these: a `__post_init__`, for configurations made
    by hand.

    Raises:
        SdpnError: one does not.
    """
    for field in dataclasses.fields(config):
        if "one_of" in field.metadata:
            refuse_unknown(field.name, getattr(config, field.name), field.metadata["one_of"])


def to_dict(config: Any) -> dict[str, Any]:
    """The plain dictionary of a configuration: what `read` would read back."""
    return dataclasses.asdict(config)


def conf_folder() -> Path:
    """Return the folder of the recipe's configuration files: that of the working directory, or else the one that came
    with this package.
    """
    if (own := Path("conf")).is_dir():
        return own
    beside = Path(__file__).parents[1] / "conf"  # of a checkout
    return beside if beside.is_dir() else Path(__file__).parent / "conf"  # of an installation


def parse(cls: type, key: str, words: Sequence[str], option: str) -> Any:
    """Read the value of a setting from the words behind an option.

    Args:
        key: a field of `cls`.
        words: as many as `word_count` says; a list of any length is one word, separated by commas.
        option: as it was typed, for the sentence.

    Raises:
        SdpnError: the value has the wrong type or is not allowed.
    """
    field = next(field for field in dataclasses.fields(cls) if field.name == key)
    hint = typing.get_type_hints(cls)[key]
    origin = typing.get_origin(hint)
    try:
        if origin in (list, tuple):
            kind = typing.get_args(hint)[0]
            parts = words[0].split(",") if word_count(cls, key) == 1 else words
            raw: Any = [kind(part.strip()) for part in parts]
        else:
            kind = next(kind for kind in (typing.get_args(hint) or (hint,)) if kind is not types.NoneType)
            raw = words[0] == "true" if kind is bool else kind(words[0])
        return _convert(raw, hint, field, "", key)
    except (ValueError, SdpnError):
        raise SdpnError(f"{option} is '{' '.join(words)}'; {_allowed(hint, field)}") from None


def word_count(cls: type, key: str) -> int | None:
    """Return how many words the value of a setting takes on a command line: 0 for true or false, 2 for a range.

    None for what stands in a file alone: a dictionary, or settings below the key.
    """
    hint = typing.get_type_hints(cls)[key]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple):
        return len(arguments) if origin is tuple and Ellipsis not in arguments else 1
    if origin not in (None, typing.Union, types.UnionType) or dataclasses.is_dataclass(hint):
        return None
    return 0 if hint is bool else 1


def given(cls: type, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's `arguments` that name fields of `cls` and were given."""
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: argument for name, argument in arguments.items() if name in names and argument is not None}


def build(cls: type[T], tree: dict, file: str, prefix: str = "") -> T:
    """A `cls` of the keys and values in `tree`, checked as `read` does; `file` and `prefix` stand in its sentences."""
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in tree:
        if key not in fields:
            allowed = ", ".join(sorted(fields))
            raise SdpnError(f"{file}: unknown key '{prefix}{key}'; allowed here: {allowed}")
    values = {}
    for name, field in fields.items():
        key = prefix + name
        if name in tree:
            values[name] = _convert(tree[name], hints[name], field, file, key)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise SdpnError(f"{file}: the key '{key}' is missing; {_allowed(hints[name], field)}")
    config = cls(**values)
    if hasattr(config, "check"):
        try:
            config.check()
        except ValueError as error:
            raise SdpnError(f"{file}: {prefix}{error}") from None
    return config


def _convert(raw: Any, hint: Any, field: dataclasses.Field, file: str, key: str, declared: Any = None) -> Any:
    def refuse() -> typing.NoReturn:
        raise SdpnError(f"{file}: '{key}' is {raw!r}; {_allowed(declared or hint, field)}")

    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(raw, dict):
            raise SdpnError(f"{file}: '{key}' is {raw!r}; expected keys below it")
        return build(hint, raw, file, key + ".")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if raw is None and types.NoneType in arguments:
            return None
        rest = [argument for argument in arguments if argument is not types.NoneType]
        return _convert(raw, rest[0], field, file, key, declared=hint)
    if origin is dict:
        if not isinstance(raw, dict) or not all(isinstance(name, str) for name in raw):
            refuse()
        return {name: _convert(item, arguments[1], field, file, f"{key}.{name}") for name, item in raw.items()}
    if origin in (list, tuple):
        if not isinstance(raw, (list, tuple)):
            refuse()
        wanted = len(arguments) if origin is tuple and Ellipsis not in arguments else None
        if wanted is not None and len(raw) != wanted:
            refuse()
        return origin(_convert(item, arguments[0], field, file, f"{key}[{i}]") for i, item in enumerate(raw))
    if hint is float and isinstance(raw, (int, float)) and not isinstance(raw, bool):
        raw = float(raw)
    elif hint is float and isinstance(raw, str):  # YAML reads 1e-5 (no point) as text
        try:
            raw = float(raw)
        except ValueError:
            refuse()
    elif hint in (int, str, bool) and type(raw) is not hint:
        refuse()
    limits = field.metadata
    if "one_of" in limits and raw not in limits["one_of"]:
        refuse()
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        inside = (
            math.isfinite(raw)
            and raw >= limits.get("at_least", raw)
            and raw <= limits.get("at_most", raw)
            and ("above" not in limits or raw > limits["above"])
            and ("below" not in limits or raw < limits["below"])
        )
        if not inside:
            refuse()
    return raw


_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _allowed(hint: Any, field: dataclasses.Field) -> str:
    if "one_of" in field.metadata:
        return "allowed: " + ", ".join(str(choice) for choice in field.metadata["one_of"])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (list, tuple):
        kind = _KINDS.get(arguments[0], "value")
        count = len(arguments) if origin is tuple and Ellipsis not in arguments else None
        text = f"a list of {count} values, each {kind}" if count else f"a list, each {kind}"
    elif origin is dict:
        text = f"`name: value` lines below it, each value {_KINDS.get(arguments[1], 'a value')}"
    elif origin in (typing.Union, types.UnionType):
        text = " or ".join("null" if one is types.NoneType else _KINDS.get(one, "a value") for one in arguments)
    else:
        text = _KINDS.get(hint, "a value")
    words = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}
    limits = [f"{word} {field.metadata[name]:g}" for name, word in words.items() if name in field.metadata]
    return "expected " + " ".join([text, " and ".join(limits)]).strip()
