"""Read the words that run.sh was given."""

import dataclasses
import difflib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from sdpn import config
from sdpn.errors import SdpnError
from sdpn.recipe.options import ALL, SECTIONS, Option

HELP = ("-h", "--help")


@dataclass
class Given:
    """What the user gave, unchecked but for names and types.

    Attributes:
        options: option -> its text; of a switch "true", or "false" for its opposite.
        settings: section -> key -> its words, e.g. {"augment": {"noise_snr": ["0", "15"]}}; of true or false one word.
        files: section -> the file that was named for it.
    """

    options: dict[str, str] = field(default_factory=dict)
    settings: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def has_setting(self, name: str) -> bool:
        """Return whether the setting "section.key" is among them."""
        section, key = name.split(".")
        return key in self.settings.get(section, {})

    def add_setting(self, name: str, words: list[str]) -> None:
        """Add a setting by its name "section.key"."""
        section, key = name.split(".")
        self.settings.setdefault(section, {})[key] = words


def settings_class(path: str) -> type:
    """Return the dataclass at "module:class"."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


def keys_of(path: str) -> list[str]:
    """Return the keys of the dataclass at "module:class"."""
    return [part.name for part in dataclasses.fields(settings_class(path))]


def read(words: Sequence[str]) -> Given | None:
    """Read the command line; None if it asks for the help.

    Raises:
        SdpnError: an option is unknown, lacks its value, or has a value of another kind.
    """
    given, rest = Given(), list(words)
    while rest:
        word = rest.pop(0)
        if word in HELP:
            return None
        if not word.startswith("--"):
            name = word.replace("_", "-")
            hint = f"; did you mean --{name}?" if name in ALL else "; ./run.sh --help lists the options"
            raise SdpnError(f"'{word}' is not an option{hint}")
        name, equals, value = word[2:].partition("=")
        if equals:
            rest.insert(0, value)
        called = f"--{name}"
        section, point, key = name.replace("-", "_").partition(".")
        if point:
            _read_setting(given, called, section, key, rest, bool(equals))
        else:
            _read_option(given, called, name.replace("_", "-"), rest, bool(equals))
    return given


def _read_option(given: Given, called: str, name: str, rest: list[str], equals: bool) -> None:
    if name.endswith("-config") and name.removesuffix("-config") in SECTIONS:
        given.files[name.removesuffix("-config")] = _value(called, rest, equals)
        return
    opposite = {option.off: option.name for option in ALL.values() if option.off}
    option = ALL.get(opposite.get(name, name))
    if option is None:
        raise SdpnError(f"unknown option '{called}'; {_nearest(name)}")
    if option.kind == "switch":
        on = _truth(called, rest, equals) != (name in opposite)
        if given.options.get(option.name, str(on).lower()) != str(on).lower():
            raise SdpnError(f"--{option.name} and --{option.off} contradict each other")
        text = str(on).lower()
    else:
        text = _value(called, rest, equals)
    given.options[option.name] = text
    if option.setting:
        section, key = option.setting.split(".")
        config.parse(settings_class(SECTIONS[section].settings), key, [text], called)
        given.add_setting(option.setting, [text])
    elif name == "config":
        given.files["train"] = text
    else:
        _check_kind(called, text, option)


def _read_setting(given: Given, called: str, section: str, key: str, rest: list[str], equals: bool) -> None:
    if section not in SECTIONS:
        raise SdpnError(f"unknown option '{called}'; settings begin with --{', --'.join(f'{s}.' for s in SECTIONS)}")
    cls = settings_class(SECTIONS[section].settings)
    known = {part.name for part in dataclasses.fields(cls)}
    negated = key.startswith("no_") and key not in known and key[3:] in known
    name = key[3:] if negated else key
    if name not in known:
        raise SdpnError(f"unknown option '{called}'; {_nearest(f'{section}.{key}'.replace('_', '-'))}")
    count = config.word_count(cls, name)
    if count is None:
        raise SdpnError(f"{called} can be set in {SECTIONS[section].file or 'its file'} alone: it has keys below it")
    if count == 0:
        words = [str(_truth(called, rest, equals) != negated).lower()]
    elif negated:
        raise SdpnError(f"unknown option '{called}'; {_nearest(f'{section}.{name}')}")
    else:
        words = [_value(called, rest, equals and not taken) for taken in range(count)]
    config.parse(cls, name, words, called)
    given.add_setting(f"{section}.{name}", words)


def _value(called: str, rest: list[str], equals: bool) -> str:
    """Take the next word; one that begins with a dash is a value only if it is a number."""
    word = rest.pop(0) if rest else ""
    if not word or (word.startswith("-") and not equals and not _is_number(word)) or word == "-":
        raise SdpnError(f"the option {called} needs a value")
    if word.startswith("-") and not _is_number(word):
        raise SdpnError(f"the option {called} needs a value; '{word}' looks like an option")
    return word


def _truth(called: str, rest: list[str], equals: bool) -> bool:
    """Take "true" or "false" if one follows; a switch alone means true."""
    if rest and rest[0] in ("true", "false"):
        return rest.pop(0) == "true"
    if equals:
        raise SdpnError(f"{called} is '{rest[0]}'; allowed: true, false")
    return True


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _check_kind(called: str, text: str, option: Option) -> None:
    if option.kind == "count":
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise SdpnError(f"{called} is '{text}'; expected a whole number of at most 9 digits")
        if int(text) < option.at_least:
            raise SdpnError(f"{called} is {int(text)}; expected at least {option.at_least}")
    elif option.kind == "share":
        inside = _is_number(text) and 0 <= float(text) <= 1 and (option.below is None or float(text) < option.below)
        if not inside:
            end = "at most 1" if option.below is None else f"below {option.below:g}"
            raise SdpnError(f"{called} is '{text}'; expected a number at least 0 and {end}")


def _nearest(name: str) -> str:
    """Return a question that names the option most like `name`, or else where the options are listed."""
    settings = [f"{section}.{key}" for section, one in SECTIONS.items() for key in keys_of(one.settings)]
    known = [
        *ALL,
        *(option.off for option in ALL.values() if option.off),
        *(f"{section}-config" for section in SECTIONS),
    ]
    known += [setting.replace("_", "-") for setting in settings]
    by_key = {setting.partition(".")[2]: setting for setting in reversed(known) if "." in setting}
    if name in by_key:
        return f"did you mean --{by_key[name]}?"
    close = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(name, by_key, 1)
    if close:
        return f"did you mean --{by_key.get(close[0], close[0])}?"
    return "./run.sh --help lists the options"
