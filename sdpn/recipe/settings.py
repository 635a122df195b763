"""All settings of a run: what the files in conf/ say, and what the command line puts in its place."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from sdpn import config
from sdpn.recipe.command_line import settings_class
from sdpn.recipe.corpora import kind_of
from sdpn.recipe.options import SECTIONS


class Settings:
    """The settings of every section.

    Args:
        corpus: the kind of corpus, which suits some settings to itself.
        files: section -> its file.
        texts: "section.key" -> what the user gave for it; of several numbers, separated by spaces.
    """

    def __init__(self, corpus: str, files: Mapping[str, str], texts: Mapping[str, str]):
        self.corpus, self.files = corpus, files
        self._given: dict[str, dict[str, Any]] = {}
        self._suited = kind_of(corpus).settings.keys() - texts.keys()
        for name, text in {**kind_of(corpus).settings, **texts}.items():
            section, key = name.split(".")
            cls = settings_class(SECTIONS[section].settings)
            words = text.split(" ") if (config.word_count(cls, key) or 0) > 1 else [text]
            self._given.setdefault(section, {})[key] = config.parse(cls, key, words, f"--{name.replace('_', '-')}")

    def given(self, section: str) -> dict[str, Any]:
        """Return what the command line and the kind of corpus set in a section."""
        return self._given.get(section, {})

    def read(self, section: str) -> Any:
        """Read the settings of a section; see `config.read` for what it raises."""
        overrides = {**self._within_train(section), **self.given(section)}
        return config.read(self.files[section], settings_class(SECTIONS[section].settings), overrides)

    def _within_train(self, section: str) -> dict[str, Any]:
        """Return what stage 4's file says below `augment`; it takes the place of what conf/augment.yaml says."""
        return config.read_tree(self.files["train"]).get(section) or {} if section == "augment" else {}

    def lines(self) -> Iterator[str]:
        """Yield a line for every setting: its value, where that comes from, and what it means."""
        for section in SECTIONS.values():
            cls, file = settings_class(section.settings), self.files[section.name]
            given, within_train = self.given(section.name), self._within_train(section.name)
            tree = config.read_tree(file) | within_train
            rows = []
            for field in dataclasses.fields(cls):
                default = field.default if field.default is not dataclasses.MISSING else None
                value = given.get(field.name, tree.get(field.name, default))
                origin = "command line" if field.name in given else file if field.name in tree else "default"
                if field.name in within_train and field.name not in given:
                    origin = self.files["train"]
                if f"{section.name}.{field.name}" in self._suited:
                    origin = f"for {self.corpus}"
                rows.append((f"  {field.name}", _shown(value), origin, field.metadata.get("help", "")))
            widths = [max(len(row[column]) for row in rows) for column in range(3)]
            yield f"{section.name}  ({file}; --{section.name}.KEY value)"
            for row in rows:
                yield "  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]).rstrip()


def _shown(value: Any) -> str:
    """Return a value as YAML writes it."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_shown(part) for part in value)}]"
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return value if isinstance(value, str) and value else f'"{value}"' if value == "" else f"{value:g}"
