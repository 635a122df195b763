#!/usr/bin/env python3
"""Check every setting of a run before any work: the files in conf/, back-ends, GPUs, and what corpus DATA holds.

    steps/check_conf.py --corpus toy --file train conf/sdpn/toy.yaml --set backend.backends cosine,plda data
    steps/check_conf.py --corpus toy --print-config data

Prints nothing if all is well; otherwise one sentence, and the status is 1. --print-config prints every setting, its
value, where the value comes from, and what it means.
"""

from pathlib import Path
from typing import Any

import click

from sdpn.backend.config import read_backends
from sdpn.console import run, say
from sdpn.corpus.layout import Corpus
from sdpn.corpus.options import LISTS, is_stream, kept_list
from sdpn.errors import SdpnError
from sdpn.recipe.corpora import kind_of
from sdpn.recipe.options import ALL, SECTIONS
from sdpn.recipe.program import identifying, program, shared
from sdpn.recipe.settings import Settings
from sdpn.training.config import read_settings


@program(__doc__, "data")
@click.option("--corpus", required=True, help="the corpus that DATA must hold, if it holds one")
@click.option(
    "--file", "files", nargs=2, multiple=True, metavar="SECTION FILE", help="the file of a section's settings"
)
@click.option("--set", "values", nargs=2, multiple=True, metavar="SECTION.KEY VALUE", help="a setting in its place")
@shared("ngpu", "print-config")
@identifying
def main(
    data: Path,
    corpus: str,
    files: tuple[tuple[str, str], ...],
    values: tuple[tuple[str, str], ...],
    ngpu: int,
    print_config: bool,
    **given: Any,
) -> None:
    if (data / "corpus.json").exists():
        refuse_another_corpus(data, corpus, given)
    named = {section.name: section.file for section in SECTIONS.values()}
    named |= {"train": kind_of(corpus).config, "finetune": kind_of(corpus).finetune, **dict(files)}
    settings = Settings(corpus, named, dict(values))
    read_settings(named["train"], settings.given("train"))
    cuts, fbank = settings.read("cuts"), settings.read("fbank")
    settings.read("augment"), settings.read("extraction"), settings.read("finetune")
    read_backends(named["backend"], settings.given("backend"))
    if cuts.sampling_rate != fbank.sampling_rate:
        raise SdpnError(
            f"sampling_rate is {cuts.sampling_rate} in {named['cuts']} and {fbank.sampling_rate} in {named['fbank']}: "
            "make them equal"
        )
    if ngpu:
        from sdpn.training.devices import choose_device  # here: it imports torch, which takes over a second

        choose_device(ngpu)
    if print_config:
        say("\n".join(settings.lines()))


def refuse_another_corpus(data: Path, corpus: str, given: dict[str, Any]) -> None:
    """Make sure that DATA was prepared with what is given.

    Raises:
        SdpnError: it was prepared with something else.
    """
    asked = {name: value for name, value in given.items() if value not in (None, "")}
    streams = {name for name in LISTS if is_stream(asked.get(name, ""))}  # stage 0 is to read them, not this
    asked |= {name: kept_list(data, name) for name in streams}
    for name, value in asked.items():
        kind = ALL[name.replace("_", "-")].kind
        if kind in ("folder", "file", "path"):
            asked[name] = str(Path(value).resolve())
        elif kind == "paths":
            asked[name] = ",".join(str(Path(path.strip()).resolve()) for path in value.split(",") if path.strip())
    Corpus.refuse_another(data, corpus, {**Corpus.read(data).options, **asked})


if __name__ == "__main__":
    run(main)
