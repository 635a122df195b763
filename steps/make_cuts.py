#!/usr/bin/env python3
"""Stage 1: cuts of every set, one an utterance, single-channel and at one sampling rate.

    steps/make_cuts.py --nj 4 data

reads data/corpus.json and data/<set>/{recordings,supervisions}.jsonl.gz and writes data/<set>/cuts.jsonl.gz. The
training set loses its speaker labels here: data/train/utt2spk.oracle keeps them, for analysis alone. Utterances that
bring features (a Kaldi data directory's feats.scp) stay whole.
"""

from functools import partial
from pathlib import Path

from sdpn import config
from sdpn.cluster.pool import run_jobs
from sdpn.cluster.stage import Where, cluster_options, run_whole
from sdpn.console import counted, run, say, timed, warn
from sdpn.corpus.config import CutsConfig
from sdpn.corpus.layout import Corpus
from sdpn.recipe.program import program, settings, shared


@program(__doc__, "data")
@shared("nj", "allow-pipes")
@cluster_options(shards=False)
@settings(CutsConfig, "conf/cuts.yaml")
def main(data: Path, config_file: str, nj: int, where: Where, **overrides) -> None:
    chosen = config.read(config_file, CutsConfig, config.given(CutsConfig, overrides))
    corpus = Corpus.read(data)
    if corpus.parts:
        say(f"{data}: the cuts of {', '.join(corpus.parts)} serve: nothing to do")
        return
    if not run_whole(where, data, "make_cuts", nj):
        return
    from sdpn.corpus.cuts import check_speakers, make_cuts, refuse_to_trim_given

    roles = {name: "clips" for name in corpus.sets} | {name: "eval" for name in corpus.evals} | {corpus.train: "train"}
    if corpus.rir:
        roles[corpus.rir] = "rir"
    say(f"cuts of {', '.join(roles)}: {chosen.sampling_rate} Hz, one channel")
    refuse_to_trim_given(corpus, chosen)
    check_speakers(data, corpus)
    with timed(f"cuts of {len(roles)} sets in {data}"):
        if chosen.trim_silence:
            from sdpn.corpus.vad import find_speech

            for name in [corpus.train, *corpus.evals]:
                find_speech(data / name, chosen, partial(run_jobs, nj=nj))
        jobs = [(data, name, role, chosen, name in corpus.given_features) for name, role in roles.items()]
        made = {name: (reason, tally) for name, reason, tally in run_jobs(make_cuts, jobs, nj)}
        for name, role in roles.items():
            report(data, name, role, *made[name])


def report(data: Path, name: str, role: str, reason: str | None, tally) -> None:
    """Say what became of a set."""
    if reason is None:
        say(f"  {name}: {tally.cuts} cuts are there: nothing to do")
        return
    if reason != "new":
        say(f"{data / name}: cuts: {reason}: redone")
    kept = {"train": " (oracle: kept aside in utt2spk.oracle)", "eval": ""}
    speakers = f", {counted(tally.speakers, 'speaker')}{kept[role]}" if tally.speakers else ""
    say(f"  {name}: {tally.cuts} cuts, {tally.seconds / 3600:.2f} h{speakers}")
    for rate, count in sorted(tally.resampled.items()):
        say(
            f"  {name}: {counted(count, f'recording of {rate} Hz is', f'recordings of {rate} Hz are')} "
            "resampled while reading"
        )
    if tally.several_channels:
        used = "each channel is a room" if role == "rir" else "one channel is used"
        say(f"  {name}: {counted(tally.several_channels, 'recording has', 'recordings have')} several channels: {used}")
    if tally.windowed:
        say(f"  {name}: {tally.windowed} long ones became several cuts of equal length")
    if tally.trimmed:
        say(f"  {name}: {tally.trimmed / 3600:.2f} h of silence cut off at the ends")
    for why, count in sorted(tally.skipped.items(), key=lambda item: (-item[1], item[0])):
        sentence = f"{name}: {count} skipped, {why}: {data / name / 'skipped.tsv'} lists them"
        warn(sentence) if role == "eval" else say(f"  {sentence}")


if __name__ == "__main__":
    run(main)
