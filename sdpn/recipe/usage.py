"""What `./run.sh --help` prints."""

import dataclasses
import re
import textwrap
from pathlib import Path

from sdpn.recipe.command_line import settings_class
from sdpn.recipe.corpora import KINDS
from sdpn.recipe.options import OPTIONS, SECTIONS, Option

_WIDTH = 120
_COLUMN = 24  # where the help of an option begins

_EPILOGUE = """\
Every setting of conf/ is an option, too, as --SECTION.KEY value; the sections are {sections}:
--train.lr 0.1, --fbank.vad energy, --augment.noise-snr 0 15; --train.compile and --train.no-compile for true and false.
--SECTION-config FILE names another file, such as --fbank-config conf/fbank_3dspeaker.yaml. --print-config lists all
settings.

What is done is not done again: run the same command after an interruption and it goes on. Ctrl-C saves the training.
Every program in local/ and steps/ has a --help of its own."""


def stages_of(script: Path) -> dict[int, str]:
    """Return the stages that run.sh has, with its sentence for each: its lines `if stage N "sentence"; then`."""
    found = re.findall(r'^ *if stage (\d+) "([^"]*)"', script.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(number): sentence for number, sentence in found}


def usage(stages: dict[int, str]) -> str:
    """Return the help of run.sh."""
    parts = ["usage: ./run.sh [--option value ...]", "Stages"]
    parts += [f"  {number}  {sentence}" for number, sentence in stages.items()]
    for heading, options in OPTIONS.items():
        parts += ["", heading, *(_entry(option) for option in options)]
    sections = ", ".join(SECTIONS)
    return "\n".join([*parts, "", _EPILOGUE.format(sections=sections)])


def _entry(option: Option) -> str:
    help, default = option.help, option.default_help or option.default
    if option.setting:
        section, key = option.setting.split(".")
        cls = settings_class(SECTIONS[section].settings)
        setting = next(part for part in dataclasses.fields(cls) if part.name == key)
        help = setting.metadata["help"]
        own = str(setting.default).lower() if isinstance(setting.default, bool) else f"{setting.default}"
        default = f"{own}; {option.default_help}" if option.default_help else own
    knowing = [name for name, kind in KINDS.items() if option.name in kind.own]
    if 0 < len(knowing) < len(KINDS) - 1:  # what all but toy know needs no such word
        help = f"{', '.join(knowing)}: {help}"
    text = f"{help} (default: {default})" if default else help
    head = f"  --{option.name} {option.metavar}".rstrip()
    lines = textwrap.wrap(text, _WIDTH - _COLUMN)
    if len(head) >= _COLUMN:
        return "\n".join([head, *(" " * _COLUMN + line for line in lines)])
    return "\n".join([head.ljust(_COLUMN) + lines[0], *(" " * _COLUMN + line for line in lines[1:])])
