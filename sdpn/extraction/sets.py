"""The x-vectors of a whole set, in shards that can be made anywhere and in any order."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdpn.config import build, parse_yaml
from sdpn.console import Progress, counted, say
from sdpn.errors import SdpnError
from sdpn.extraction.baselines import FBANK_STATISTICS
from sdpn.extraction.store import FORMS, XVectors, read_xvectors, write_xvectors
from sdpn.extraction.views import AugmentedViews, view_names
from sdpn.features.config import FbankConfig
from sdpn.features.index import FeatureIndex, open_features
from sdpn.files import digest, exclusive, write_array
from sdpn.models.digest import model_digest
from sdpn.shards import Work, completes, prepares

if TYPE_CHECKING:
    from sdpn.extraction.extractor import Features

SHARD_SIZE = 200
SIDE_BY_SIDE = "xvector+fbank-stats"
"""The name of the system whose vectors are x-vectors with the statistics of the fbank beside them."""


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
            return {"vectors": FBANK_STATISTICS}
        crops = {"crops": self.crops, "crop_frames": self.crop_frames} if self.crops else {}
        return {
            "model": model_digest(self.model),
            "max_frames": self.max_frames,
            "batch_frames": self.batch_frames,
            "shard_size": SHARD_SIZE,
            "device": "gpu" if self.ngpu else "cpu",
            **crops,
        }


@dataclass(frozen=True)
class Shard:
    """Some utterances of a set, and the file of their vectors, rows in the order of `utterances`.

    Where `views` says so, the vectors are of views of these utterances, all of one utterance in a row.
    """

    work: Work
    path: Path
    set_dir: Path
    utterances: list[int]
    system: System
    views: AugmentedViews | None = None


def extract_set(
    set_dir: Path,
    directory: Path,
    system: System,
    run: Callable[[Callable, Sequence[tuple]], Iterable[Any]],
    views: AugmentedViews | None = None,
) -> bool:
    """Write the x-vectors of the features in `set_dir` into `directory`; return whether anything was made.

    Utterances are sorted by length and cut into shards of SHARD_SIZE, and each shard computes with one thread, so
    neither the number of jobs nor a kill changes a bit of the result.

    Args:
        run: runs a function over jobs, in any order, and yields the results; see also `shards.completes`.
        views: has augmented views of the utterances extracted in their place, named by `views.view_names`.

    Raises:
        SdpnError: there are no features, they were made with other settings than the model's, or there is no model.
    """
    index = open_features(set_dir)
    if system.model is not None:
        _check_features(index, system.model)
    inputs = {"features": index.fingerprint, **system.fingerprint()}
    if views is not None:
        inputs |= views.fingerprint(index)
    made_as: dict[str, Any] = (
        {} if views is None else {"augment": views.augmentation()}
    )  # what the fingerprint has as a digest
    with exclusive(directory) if prepares(run) else nullcontext():
        works = {form: Work(directory, "xvectors", {**inputs, "form": form}) for form in FORMS}
        whole = works[system.form]
        reason = whole.stale_reason()
        if reason is None:
            count = len(index) if views is None else len(views.chosen(index)) * views.config.views
            say(f"  {directory}: nothing to do, {counted(count, 'x-vector is', 'x-vectors are')} there")
            if prepares(run):
                _remove_shards(directory)
            return False
        if any(work.stale_reason() is None for work in works.values()):
            if not completes(run):
                return False
            say(f"  {directory}: the x-vectors that are there are written as {system.form}")
            found = read_xvectors(directory)
            whole.begin()
            whole.finish(write_xvectors(directory, found, system.form), **made_as)
            _remove_shards(directory)
            return True
        if not whole.is_new():
            say(f"  {directory}: made again: {reason}")
        if prepares(run):
            whole.begin()
        shards = _plan(index, directory, system, inputs, views)
        todo = [shard for shard in shards if shard.work.stale_reason() is not None]
        with Progress(str(directory), sum(len(shard.utterances) for shard in todo), "utterances") as progress:
            for count in run(make_shard, [(shard,) for shard in todo]):
                progress.advance(count)
        if not completes(run):
            return True
        whole.finish(write_xvectors(directory, _joined(index, shards, views), system.form), **made_as)
        _remove_shards(directory)
    return True


def _joined(index: FeatureIndex, shards: list[Shard], views: AugmentedViews | None) -> XVectors:
    """What the shards hold, in the order of the utterances."""
    utterances = np.array([utterance for shard in shards for utterance in shard.utterances])
    order = np.argsort(utterances)
    utterances = utterances[order]
    each = 1 if views is None else views.config.views
    vectors = np.concatenate([np.load(shard.path) for shard in shards])
    vectors = vectors.reshape(len(utterances), each, -1)[order].reshape(len(utterances) * each, -1)
    if views is None:
        return XVectors(index.ids, vectors, np.asarray(index.frames, dtype=np.int64))
    names = [name for utterance in utterances for name in view_names(index.ids[utterance], each)]
    return XVectors(names, vectors, np.full(len(names), views.config.view_frames))


def make_shard(shard: Shard) -> int:
    """Write the vectors of a shard; return how many."""
    index = FeatureIndex.open(shard.set_dir)
    with _extracting(shard.system) as extract:
        if shard.views is None:
            vectors = extract(index, shard.utterances)
        else:
            from sdpn.extraction.extractor import Held

            parts = shard.views.rendered(index, shard.utterances)
            vectors = np.concatenate([extract(Held(list(part)), range(len(part))) for part in parts])
    write_array(shard.path, vectors)
    shard.work.finish([shard.path])
    return len(shard.utterances)


@contextmanager
def _extracting(system: System) -> Iterator[Callable[["Features", Sequence[int]], np.ndarray]]:
    """The function of features and utterances that gives the vectors of a system; torch computes with one thread."""
    from sdpn.extraction.extractor import Extractor, fbank_statistics

    if system.model is None:
        yield fbank_statistics
        return
    import torch

    from sdpn.models.folder import read_model

    device = torch.device("cuda" if system.ngpu else "cpu")
    encoder, _ = read_model(system.model, device)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sizes = (system.max_frames, system.batch_frames, system.crops, system.crop_frames)
        yield Extractor(encoder, device, *sizes).extract
    finally:
        torch.set_num_threads(threads)


def _plan(
    index: FeatureIndex, directory: Path, system: System, inputs: dict[str, Any], views: AugmentedViews | None
) -> list[Shard]:
    by_length = np.argsort(index.frames, kind="stable")
    ordered = (by_length if views is None else views.chosen(index)).tolist()  # views are of one length
    shards = []
    for number, first in enumerate(range(0, len(ordered), SHARD_SIZE), 1):
        utterances = ordered[first : first + SHARD_SIZE]
        name = f"part.{number:04d}"
        work = Work(directory, name, {**inputs, "utterances": digest(utterances)})
        shards.append(Shard(work, directory / f"{name}.npy", index.directory, utterances, system, views))
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
        features = parse_yaml(path.read_text(encoding="utf-8"))["features"]
        expected = build(FbankConfig, dict(features), str(path)).spectral()
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise SdpnError(f"{path} is damaged: run stage 4 again") from None
    found = index.config.spectral()
    wrong = [
        f"{name} {found[name]} where it was {expected[name]}" for name in expected if expected[name] != found[name]
    ]
    if wrong:
        raise SdpnError(
            f"{index.directory} has other features than {model} was trained on ({', '.join(wrong)}): "
            "run stages 2 to 4 again with one conf/fbank.yaml"
        )
