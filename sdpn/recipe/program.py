"""The decorators that make a program of local/ or steps/: its arguments, and options as they are declared elsewhere.

Example::

    @program(__doc__, "data")
    @shared("nj", "allow-pipes")
    @settings(FbankConfig, "conf/fbank.yaml")
    def main(data: Path, nj: int, config_file: str, **overrides: Any) -> None:
        settings = config.read(config_file, FbankConfig, config.given(FbankConfig, overrides))
"""

import dataclasses
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sdpn import config
from sdpn.audio import pipes
from sdpn.recipe.corpora import OWN, kind_of
from sdpn.recipe.options import ALL, Option

_PATH = click.Path(path_type=Path)


def program(doc: str | None, *arguments: str, **context: Any) -> Callable[[Callable], click.Command]:
    """Make a click command that takes paths as `arguments`; its help is the docstring of its module.

    Args:
        context: further settings of click's context.
    """

    def decorate(function: Callable) -> click.Command:
        for name in reversed(arguments):
            function = click.argument(name, type=_PATH)(function)
        help = (doc or "").replace("\n\n    ", "\n\n\b\n    ")  # examples keep their lines
        return click.command(help=help, context_settings={"show_default": True, **context})(function)

    return decorate


def shared(*names: str) -> Callable:
    """Give a program options of run.sh, with the help and the limits that they have there."""

    def decorate(function: Callable) -> Callable:
        for name in reversed(names):
            function = pipes_option(function) if name == "allow-pipes" else _option(ALL[name])(function)
        return function

    return decorate


def pipes_option(function: Callable) -> Callable:
    """Give a program --allow-pipes, which lets it run commands (see `sdpn.audio.pipes`)."""

    def allow(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            pipes.allow()

    option = ALL["allow-pipes"]
    return click.option("--allow-pipes", is_flag=True, expose_value=False, callback=allow, help=option.help)(function)


def stage0(corpus: str) -> Callable:
    """Give a program of stage 0 the options that run.sh has for this kind of corpus."""
    kind = kind_of(corpus)

    def decorate(function: Callable) -> Callable:
        if corpus != "toy":
            cuts = ALL["max-skipped"]
            help = "share of a set that may be unusable  [default: that of --cuts-config]"
            function = click.option(f"--{cuts.name}", type=click.FloatRange(0, 1), help=help)(function)
            function = click.option("--cuts-config", default="conf/cuts.yaml", help="settings of stage 1 (YAML)")(
                function
            )
        if "download" in kind.own:
            help = "addresses and checksums of what --download fetches (YAML)"
            function = click.option("--downloads-config", default="conf/downloads.yaml", type=_PATH, help=help)(
                function
            )
        known = [option for option in ALL.values() if "prepare" in option.to]
        for option in reversed([option for option in known if option.name in kind.own or option.name not in OWN]):
            function = _option(option, option.name in kind.needed and option.name not in kind.downloadable)(function)
        return function

    return decorate


def identifying(function: Callable) -> Callable:
    """Give a program, hidden, the options that tell one prepared corpus from another; what is not given is None."""
    for option in ALL.values():
        if option.identifies:
            names = f"--{option.name}/--{option.off}" if option.off else f"--{option.name}"
            kind = None if option.off else float if option.kind == "share" else str
            function = click.option(names, option.key, type=kind, default=None, hidden=True)(function)
    return function


def settings(cls: type, file: str | None = None, option: str = "config", help: str = "settings (YAML)") -> Callable:
    """Give a program an option for every key of a configuration, and one for the file that the rest is read from.

    Values of several numbers are given one after another (`--noise-snr 0 15`), lists of any length separated by commas;
    dictionaries stand in the file alone. The program receives keys as keyword arguments, None if not given, for
    `config.given` to pick.

    Args:
        cls: a dataclass whose fields are declared by `config.value`.
        file: the default of that option; without one there is no such option.
        option: its name; the program receives `config` as config_file.
        help: its help.
    """

    def decorate(function: Callable) -> Callable:
        for field in reversed(dataclasses.fields(cls)):
            kind = _setting_type(cls, field)
            if kind is not None:
                name = field.name.replace("_", "-")
                names = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
                function = click.option(names, field.name, type=kind, default=None, help=_setting_help(field))(function)
        if file is not None:
            key = "config_file" if option == "config" else option.replace("-", "_")
            function = click.option(f"--{option}", key, default=file, help=help)(function)
        return function

    return decorate


def training_config(function: Callable) -> Callable:
    """Give a program --config, the settings of stage 4; if it is not given, those that suit the corpus are to serve."""
    default = ALL["config"].default_help
    help = f"settings of stage 4 (YAML)  [default: {default}]"
    return click.option("--config", "config_file", help=help)(function)


def round_config(function: Callable) -> Callable:
    """Give a program --config, the settings of stages 7 and 8; else those that suit the corpus are to serve."""
    default = ALL["config"].default_help.replace("sdpn", "finetune")
    help = f"settings of stages 7 and 8 (YAML)  [default: {default}]"
    return click.option("--config", "config_file", help=help)(function)


class _List(click.ParamType):
    """Values of one type separated by commas."""

    name = "list"

    def __init__(self, cls: type, key: str):
        self.cls, self.key = cls, key

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return config.parse(self.cls, self.key, [value], f"--{self.key.replace('_', '-')}")


def _setting_type(cls: type, field: dataclasses.Field) -> Any:
    hint = typing.get_type_hints(cls)[field.name]
    count, origin = config.word_count(cls, field.name), typing.get_origin(hint)
    if count is None:
        return None
    if origin in (list, tuple):
        return _List(cls, field.name) if count == 1 else typing.get_args(hint)
    plain = next(kind for kind in (typing.get_args(hint) or (hint,)) if kind is not types.NoneType)
    return click.Choice(field.metadata["one_of"]) if "one_of" in field.metadata and plain is str else plain


def _setting_help(field: dataclasses.Field) -> str:
    default = field.default
    if isinstance(default, bool):
        text = str(default).lower()
    elif isinstance(default, tuple):
        text = " ".join(f"{one:g}" for one in default)
    else:
        text = "null" if default is None else "none" if default == "" else f"{default}"
    return f"{field.metadata['help']}  [default: {text}]".strip()


def _option(option: Option, required: bool = False) -> Callable:
    """Return the click option of a declared one."""
    if option.kind == "switch":
        if option.off:
            help = f"{option.help}  [default: {option.default_help}]"
            return click.option(f"--{option.name}/--{option.off}", option.key, default=None, help=help)
        return click.option(f"--{option.name}", option.key, is_flag=True, help=option.help)
    kind: Any = str
    default: Any = option.default
    if option.kind == "count":
        kind, default = click.IntRange(option.at_least), int(option.default or 0)
    elif option.kind == "share":
        kind = click.FloatRange(0, option.below or 1, max_open=option.below is not None)
        default = float(option.default) if option.default else None
    elif option.kind in ("folder", "file", "path", "output"):
        kind = _PATH
    if required:
        return click.option(f"--{option.name}", option.key, required=True, type=kind, help=option.help)
    return click.option(f"--{option.name}", option.key, default=default, type=kind, help=option.help)
