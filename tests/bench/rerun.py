#!/usr/bin/env python3
"""What it takes to find out that there is nothing to do: the rerun of finished stages at VoxCeleb's size.

    OMP_NUM_THREADS=1 tests/bench/rerun.py --utterances 1100000 --folder /tmp/rerun

The first run makes what is not there yet: a tree of links for local/prepare_folder.py (all headers are said
to be the same), real cuts, features and banks whose files are holes of the right size, an untrained network in the
place of a trained one, x-vectors of noise, clusters of neighbours in the list, and real scores. Then each stage runs
once more as a user has it run, and its seconds of CPU are taken, its processes' included. The last line is one JSON
object: `noop_cpu_s` by stage and in total.
"""

import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click
import numpy as np
import soundfile

ROOT = Path(__file__).parents[2]
SECONDS = 8.2
STAGES = {
    "0": ["local/prepare_folder.py", "--corpus-dir", "{tree}", "{data}"],
    "1": ["steps/make_cuts.py", "{data}"],
    "2": ["steps/make_fbank.py", "{data}"],
    "3": ["steps/make_augment.py", "{data}"],
    "4": ["steps/train_sdpn.py", "--config", "conf/sdpn/small.yaml", "{data}", "{exp}"],
    "5": ["steps/extract_xvectors.py", "{data}", "{exp}"],
    "6": ["steps/score.py", "{data}", "{exp}"],
}
LOG_LINES = 500


def write_tree(folder: Path, utterances: int) -> None:
    """A corpus of links to a few files: 180 utterances a speaker, 7 a session; 2000 of them are evaluated."""
    folder.mkdir(parents=True, exist_ok=True)
    sounds = [folder / f"sound{number}.wav" for number in range((utterances + 2000) // 50_000 + 1)]
    for sound in sounds:  # a file has at most 65000 links
        soundfile.write(sound, np.zeros(16000), 16000)
    for number in range(utterances + 2000):
        part = "train" if number < utterances else "eval"
        speaker, own = divmod(number, 180)
        below = folder / "tree" / part / f"{part}{speaker:05d}" / f"video{own // 7:02d}x{speaker:04d}"
        if own % 7 == 0 or not below.is_dir():
            below.mkdir(parents=True, exist_ok=True)
        os.link(sounds[number // 50_000], below / f"{own:05d}.wav")


def run_faked(program: str, words: list[str]) -> None:
    """Run a program of the recipe in this process, where no audio is read and no feature computed."""
    for folder in ("local", "steps"):
        sys.path.insert(0, str(ROOT / folder))
    from sdpn.audio import headers
    from sdpn.augment import make
    from sdpn.backend.clustering import PseudoSpeakers
    from sdpn.extraction import sets
    from sdpn.features import cache
    from sdpn.training import fit

    headers.read_header = lambda path: headers.Header(16000, round(16000 * SECONDS), 1)
    cache.make_shard = make.make_audio_shard = make_empty_shard
    fit.fit = write_untrained
    sets.make_shard = draw_vectors
    PseudoSpeakers.fit = take_neighbours
    path = ROOT / program
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.run_jobs = lambda function, jobs, nj=1: (function(*job) for job in jobs)
    module.main.main(words, standalone_mode=False)


def make_empty_shard(shard) -> int:
    """Make a feature file of zeros, which takes no place on the disk, and say where its utterances would lie."""
    from sdpn.features.shard import EXTENT_COLUMNS
    from sdpn.files import atomic_path

    frames, row = round(100 * SECONDS), 2 * shard.config.num_mel_bins
    shard.work.begin()
    count = len(shard.items)
    with atomic_path(shard.path) as temporary, open(temporary, "wb") as opened:
        opened.truncate(count * (frames * row + 40))
    table = np.zeros(count, dtype=EXTENT_COLUMNS)
    table["item"], table["frames"], table["step"], table["power_ratio"] = np.arange(count), frames, 1e-4, 1
    table["offset"] = 40 + np.arange(count) * (frames * row + 40)
    with atomic_path(shard.table) as temporary, open(temporary, "wb") as opened:
        np.save(opened, table)
    shard.work.finish([shard.path, shard.table], checked=[shard.path], skipped={}, notes={}, again=[])
    return count


def write_untrained(config, views, exp_dir: Path, *others) -> list[Path]:
    """Write what a training leaves, without training."""
    from sdpn.models.folder import write_model
    from sdpn.models.registry import build_encoder

    settings = config.network_settings(views.index.num_bins)
    line = {"epoch": 1, "loss": 1.0, "prototypes_in_use": 1.0, "effective_rank": 1.0}
    lines = (json.dumps({"step": step, **line}) + "\n" for step in range(1, LOG_LINES + 1))
    (exp_dir / "train.jsonl").write_text("".join(lines))
    encoder, features = build_encoder(**settings), views.index.config.spectral()
    folders = (exp_dir / "systems" / "untrained" / "model", exp_dir / "model")
    return [path for folder in folders for path in write_model(folder, encoder, settings, features)]


def draw_vectors(shard) -> int:
    """Write noise for the x-vectors of a shard."""
    from sdpn.files import write_array

    rows = len(shard.utterances) * (1 if shard.views is None else shard.views.config.views)
    rng = np.random.default_rng(shard.utterances[0])
    write_array(shard.path, rng.standard_normal((rows, 192 if shard.system.model else 160), dtype=np.float32))
    shard.work.finish([shard.path])
    return len(shard.utterances)


def take_neighbours(clusters, vectors: np.ndarray):
    """Take 180 vectors that follow each other for a cluster."""
    clusters.labels_, clusters.levels_, clusters.note_ = np.arange(len(vectors)) // 180, [], "neighbours"
    clusters.n_classes_ = int(clusters.labels_[-1]) + 1
    return clusters


def cpu_of(command: Iterable[str], log: Path) -> float:
    """Seconds of CPU of a program and its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, "a") as opened:
        done = subprocess.run([sys.executable, *command], cwd=ROOT, stdout=opened, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n" + log.read_text()[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_turn(stages: dict[str, list[str]], do: Callable[[str, list[str]], float]) -> dict[str, float]:
    """What `do` gives for each stage, in their order."""
    return {stage: do(program, words) for stage, (program, *words) in stages.items()}


@click.command(help=__doc__.replace("\n\n    ", "\n\n\b\n    "))
@click.option("--utterances", default=1_100_000, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("/tmp/bench-rerun"), show_default=True)
@click.option("--last-stage", default="6", show_default=True, type=click.Choice(list(STAGES)))
@click.option("--score-options", default="", help="of stage 6, e.g. what makes it cheap at a million utterances")
@click.option("--faked", help="run this program where no audio is read", hidden=True)
@click.argument("words", nargs=-1)
def main(
    utterances: int, folder: Path, last_stage: str, score_options: str, faked: str | None, words: tuple[str, ...]
) -> None:
    if faked:
        run_faked(faked, list(words))
        return
    log, tree = folder / "log.txt", folder / "tree"
    if not tree.exists():
        write_tree(folder, utterances)
    names = {"tree": tree, "data": folder / "data", "exp": folder / "exp"}
    options = {"6": score_options.split()}
    stages = {
        stage: [word.format(**names) for word in words] + options.get(stage, [])
        for stage, words in STAGES.items()
        if stage <= last_stage
    }
    made = in_turn(stages, lambda program, words: cpu_of([__file__, "--faked", program, "--", *words], log))
    noop = in_turn(stages, lambda program, words: cpu_of([program, *words], log))
    for stage in stages:
        print(f"stage {stage}: {made[stage]:8.1f} s of CPU to make, {noop[stage]:8.1f} s to find nothing to do")
    figures = {stage: round(seconds, 2) for stage, seconds in noop.items()}
    print(json.dumps({"utterances": utterances, "noop_cpu_s": {**figures, "total": round(sum(noop.values()), 2)}}))


if __name__ == "__main__":
    main()
