"""The x-vectors of a whole set, in shards that can be made anywhere and in any order."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdpn.config import build
from sdpn.console import Progress, say
from sdpn.errors import SdpnError
from sdpn.extraction.store import FORMS, XVectors, read_xvectors, write_xvectors
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex, open_features
from sdpn.files import atomic_path, digest, exclusive, file_digest
from sdpn.shards import Work

SHARD_SIZE = 200
FBANK_STATISTICS = "fbank-stats"


@dataclass(frozen=True)
class System:
    """What turns utterances into vectors.

    Attributes:
        name: for the user.
        model: its model folder, None for the statistics of the fbank.
        max_frames, batch_frames, crops, crop_frames: see Extractor.
        ngpu: 0 or 1.
        form: `ark` or `hdf5`; see write_xvectors.
    """

    name: str
    model: Path | None
    max_frames: int = 6000
    batch_frames: int = 4000
    crops: int = 0
    crop_frames: int = 400
    ngpu: int = 0
    form: str = "ark"

    def fingerprint(self) -> dict[str, Any]:
        """What the vectors depend on besides the features."""
        if self.model is None:
            return {"options": digest(FBANK_STATISTICS)}
        crops = [self.crops, self.crop_frames] if self.crops else []
        options = digest(self.max_frames, self.batch_frames, SHARD_SIZE, "gpu" if self.ngpu else "cpu", *crops)
        return {"model": model_digest(self.model), "options": options}


@dataclass(frozen=True)
class Shard:
    """Some utterances of a set, and the file of their vectors, rows in the order of `utterances`."""

    work: Work
    path: Path
    set_dir: Path
    utterances: list[int]
    system: System


def extract_set(
    set_dir: Path, directory: Path, system: System, run: Callable[[Callable, Sequence[tuple]], Iterable[Any]]
) -> bool:
    """Write the x-vectors of the features in `set_dir` into `directory`; return whether anything was made.

    Utterances are sorted by length and cut into shards of SHARD_SIZE, and each shard computes with one thread, so
    neither the number of jobs nor a kill changes a bit of the result.

    Args:
        run: runs a function over jobs, in any order, and yields the results.

    Raises:
        SdpnError: there are no features, they were made with other settings than the model's, or there is no model.
    """
    index = open_features(set_dir)
    if system.model is not None:
        _check_features(index, system.model)
    inputs = {"features": index.fingerprint, **system.fingerprint()}
    with exclusive(directory):
        works = {form: Work(directory, "xvectors", {**inputs, "form": form}) for form in FORMS}
        whole = works[system.form]
        reason = whole.stale_reason()
        if reason is None:
            say(f"  {directory}: nothing to do, {len(index)} x-vectors are there")
            _remove_shards(directory)
            return False
        if any(work.stale_reason() is None for work in works.values()):
            say(f"  {directory}: the x-vectors that are there are written as {system.form}")
            found = read_xvectors(directory)
            whole.begin()
            whole.finish(write_xvectors(directory, found, system.form))
            _remove_shards(directory)
            return True
        if not whole.is_new():
            say(f"  {directory}: made again: {reason}")
        whole.begin()
        shards = _plan(index, directory, system, inputs)
        todo = [shard for shard in shards if shard.work.stale_reason() is not None]
        with Progress(str(directory), sum(len(shard.utterances) for shard in todo), "utterances") as progress:
            for count in run(make_shard, [(shard,) for shard in todo]):
                progress.advance(count)
        parts = [np.load(shard.path) for shard in shards]
        order = np.argsort([utterance for shard in shards for utterance in shard.utterances])
        vectors = np.concatenate(parts)[order]
        made = XVectors(index.ids, vectors, np.asarray(index.frames, dtype=np.int64))
        whole.finish(write_xvectors(directory, made, system.form))
        _remove_shards(directory)
    return True


def model_digest(model: Path) -> str:
    """What changes when a model folder holds another network."""
    return digest([file_digest(model / name) for name in ("weights.pt", "config.yaml")])


def make_shard(shard: Shard) -> int:
    """Write the vectors of a shard; return how many."""
    index = FeatureIndex.open(shard.set_dir)
    if shard.system.model is None:
        from sdpn.extraction.extractor import fbank_statistics

        vectors = fbank_statistics(index, shard.utterances)
    else:
        vectors = _embed(index, shard)
    with atomic_path(shard.path) as temporary:
        np.save(temporary, vectors)
    shard.work.finish([shard.path])
    return len(shard.utterances)


def _embed(index: FeatureIndex, shard: Shard) -> np.ndarray:
    import torch

    from sdpn.extraction.extractor import Extractor
    from sdpn.models.folder import read_model

    system = shard.system
    device = torch.device("cuda" if system.ngpu else "cpu")
    encoder, _ = read_model(system.model, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sizes = (system.max_frames, system.batch_frames, system.crops, system.crop_frames)
        return Extractor(encoder, device, *sizes).extract(index, shard.utterances)
    finally:
        torch.set_num_threads(threads)


def _plan(index: FeatureIndex, directory: Path, system: System, inputs: dict[str, Any]) -> list[Shard]:
    by_length = np.argsort(index.frames, kind="stable").tolist()
    shards = []
    for number, first in enumerate(range(0, len(by_length), SHARD_SIZE), 1):
        utterances = by_length[first : first + SHARD_SIZE]
        name = f"part.{number:04d}"
        work = Work(directory, name, {**inputs, "utterances": digest(utterances)})
        shards.append(Shard(work, directory / f"{name}.npy", index.directory, utterances, system))
    return shards


def _remove_shards(directory: Path) -> None:
    """Remove the shards of a set that is whole: also those of a plan that was given up, or that a kill spared."""
    for old in (*(directory / "done").glob("part.*.json"), *directory.glob("part.*.npy")):
        old.unlink()


def _check_features(index: FeatureIndex, model: Path) -> None:
    import yaml

    path = model / "config.yaml"
    if not path.exists():
        raise SdpnError(f"{model} holds no model: run stage 4 first")
    try:
        features = yaml.safe_load(path.read_text(encoding="utf-8"))["features"]
        expected = build(FbankConfig, dict(features), str(path)).spectral()
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise SdpnError(f"{path} is damaged: remove {model} and run stage 4 again") from None
    found = index.config.spectral()
    wrong = [
        f"{name} {found[name]} where it was {expected[name]}" for name in expected if expected[name] != found[name]
    ]
    if wrong:
        raise SdpnError(
            f"{index.directory} has other features than {model} was trained on ({', '.join(wrong)}): "
            "run stages 2 to 4 again with one conf/fbank.yaml"
        )
