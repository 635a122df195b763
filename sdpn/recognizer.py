"""Comparing voices with a trained model: its network, a back-end, and the calibration of its scores."""

import math
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdpn.backend.chain import Chain
from sdpn.backend.chain_file import digest_of, load_chain, network_of, save_chain
from sdpn.console import warn
from sdpn.errors import SdpnError
from sdpn.extraction.embedder import Embedder
from sdpn.extraction.sets import SIDE_BY_SIDE
from sdpn.extraction.store import vectors_file
from sdpn.models.digest import model_digest
from sdpn.models.folder import find_model, is_exported
from sdpn.models.onnx_model import Backend, OnnxModel, opened
from sdpn.report.rows import RESULTS, ResultRow, read_rows
from sdpn.shards import Work

PLAIN = "length-norm | cosine"
"""The back-end of a model that comes without one: it has learned nothing."""

_DEFAULT = "cosine"


class Calibration(NamedTuple):
    """What makes a score a natural log-likelihood ratio: weight * score + offset."""

    weight: float
    offset: float


class Recognizer:
    """Tells whether voices are one speaker's.

    Args:
        model: an experiment (exp/<name>), whose stage 6 has made back-ends, a model folder, or a file that
            `sdpn export onnx` wrote, with the back-end and the calibration in it.
        backend: one of these by name, e.g. `lda-plda`, or `xvector+fbank-stats/lda-plda`, which takes the statistics of
            the fbank beside the x-vectors; a file that `sdpn score --save-backend` wrote; or a chain that learns
            nothing, e.g. "length-norm | cosine". None: `cosine` of the experiment, or that chain where it has none.
        device: where the network computes.

    Attributes:
        backend: what scores, as the user knows it.
        chain: its Chain, fitted.
        calibration: of its scores, None where there is none.
        uncalibrated: why there is none, and what makes one; None where there is one.
        sampling_rate, dimension: of the features (Hz), of the x-vectors.

    Raises:
        SdpnError: there is no model, no such back-end, or it was fitted on x-vectors of another network.

    Example::

        model = sdpn.load("exp/toy")
        score = model.score("a.wav", "b.wav")
        model.log_likelihood_ratio(score)
    """

    def __init__(self, model: str | Path, backend: str | None = None, device: str = "cpu"):
        folder = find_model(model)
        if is_exported(folder):
            self._open_exported(folder, backend, device)
            return
        self.backend, path = _find_backend(folder, backend)
        chain = _unlearned(self.backend) if path is None else load_chain(path)
        self.embedder = Embedder(folder, device, statistics=chain.side_by_side)
        self.sampling_rate, self.dimension = self.embedder.sampling_rate, self.embedder.dimension
        if path is None:
            self.chain = chain.fit(np.ones((1, self.dimension)))
        else:
            self.chain = _tried(chain, path, self.dimension)
        exp, made = backends_of(folder)
        self.calibration = _calibration_of(exp, self.backend, path) if path and self.backend in made else None
        self.uncalibrated = None if self.calibration else _why_uncalibrated(exp, self.backend, path, made)

    def _open_exported(self, file: Path, backend: str | None, device: str) -> None:
        """Open an exported model, which carries one back-end; others are a file or a chain that learns nothing."""
        self.embedder = Embedder(file, device)
        self.sampling_rate, self.dimension = self.embedder.sampling_rate, self.embedder.dimension
        exported = self.embedder.exported
        made = exported.backend if isinstance(exported, OnnxModel) else None
        self.calibration = None
        if made is not None and backend in (None, made.name):
            self.backend, self.chain = made.name, load_chain(opened(made))
            self.calibration = Calibration(*made.calibration) if made.calibration else None
        elif backend is not None and backend.endswith(".h5"):
            self.backend, self.chain = backend, _tried(load_chain(backend), Path(backend), self.dimension)
        elif backend is None or "|" in backend or backend == _DEFAULT:
            self.backend = PLAIN if backend in (None, _DEFAULT) else Chain(backend).text
            self.chain = _unlearned(self.backend).fit(np.ones((1, self.dimension)))
        else:
            has = f"it has '{made.name}'" if made else "it has none"
            raise SdpnError(f"{file} has no back-end '{backend}': {has}; `sdpn export onnx --backend` chooses it")
        self.uncalibrated = None
        if self.calibration is None:
            self.uncalibrated = f"{file} brings none for '{self.backend}': export it from an experiment after stage 6"

    def exportable(self) -> Backend:
        """Return the back-end and its calibration in the form that an exported model carries."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "backend.h5"
            save_chain(path, self.chain)
            return Backend(self.backend, path.read_bytes(), self.calibration)

    def embed(self, audio: Any, sampling_rate: int | None = None, channel: int | str | None = None) -> np.ndarray:
        """Return the x-vector of a recording, (dimension,) float32, or of each of a list; see Embedder.embed."""
        return self.embedder.embed(audio, sampling_rate, channel)

    def score(self, a: str | Path | np.ndarray, b: str | Path | np.ndarray) -> float:
        """How alike two voices are; more is more alike.

        Args:
            a, b: x-vectors of `embed`, (dimension,) or (n, dimension) for a voice that n recordings tell of; or files.

        Raises:
            SdpnError: a file cannot be read, or an array is no x-vector of this model.
        """
        return float(self.score_all([self._vectors(a)], self._vectors(b))[0].mean())

    def score_all(self, enrolled: list[np.ndarray], tests: np.ndarray) -> np.ndarray:
        """Score voices against recordings: (n_voices, n_tests) float64.

        Args:
            enrolled: the x-vectors of each voice, (n, dimension), one or several.
            tests: (n_tests, dimension).
        """
        owners = np.repeat(np.arange(len(enrolled)), [len(one) for one in enrolled])
        voices, counts = self.chain.enroll(np.concatenate(enrolled), owners)
        return self.chain.scorer.score_matrix(voices, self.chain.transform(tests), counts)

    def log_likelihood_ratio(self, score: float) -> float | None:
        """How much likelier a score is if one speaker said both, natural logarithm; None without a calibration."""
        if self.calibration is None:
            return None
        return self.calibration.weight * score + self.calibration.offset

    def limit(self, prior: float = 0.5, threshold: float | None = None) -> float | None:
        """The score from which on two voices are taken for one speaker's; None without a calibration.

        Args:
            prior: how probable one speaker is beforehand; both kinds of error cost the same.
            threshold: the score itself, where the user knows better.
        """
        if threshold is not None or self.calibration is None:
            return threshold
        return (math.log((1 - prior) / prior) - self.calibration.offset) / self.calibration.weight

    def _vectors(self, given: str | Path | np.ndarray) -> np.ndarray:
        """An x-vector, several of them or a file, as (n, dimension)."""
        if not isinstance(given, np.ndarray):
            given = self.embed(given)
        rows = np.atleast_2d(given)
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise SdpnError(f"expected x-vectors of {self.dimension} dimensions, got an array of shape {given.shape}")
        return rows


def _find_backend(model: Path, backend: str | None) -> tuple[str, Path | None]:
    """The name of a back-end and its file; the text of a chain that learns nothing has none. See Recognizer."""
    exp, made = backends_of(model)
    if backend is None:
        backend = _DEFAULT if _DEFAULT in made else next(iter(made), PLAIN)
    if backend in made:
        return backend, fitted_backend(model, backend)
    if backend.endswith(".h5"):
        return backend, Path(backend)
    if "|" not in backend and backend != _DEFAULT:
        raise _unknown(exp, made, backend)
    return (PLAIN if backend == _DEFAULT else Chain(backend).text), None


def _unlearned(text: str) -> Chain:
    """The chain of a text; SdpnError where it must be fitted first."""
    chain = Chain(text)
    if chain.learns:
        raise SdpnError(
            f"the chain '{chain.text}' must be fitted first: name a back-end that stage 6 has made, or a .h5"
        )
    return chain


def _tried(chain: Chain, path: Path, dimension: int) -> Chain:
    """The chain in a file, once it has scored x-vectors of `dimension`; SdpnError where it cannot."""
    vectors = np.random.default_rng(0).normal(size=(2, dimension))
    try:
        voices, counts = chain.enroll(vectors, np.arange(2))
        sane = np.isfinite(chain.scorer.score_matrix(voices, chain.transform(vectors), counts)).all()
    except SdpnError as error:
        raise SdpnError(f"{path} does not fit the model: {error}") from None
    except Exception:  # what a step has learned is missing, or of another kind
        sane = False
    if not sane:
        raise SdpnError(f"{path} is damaged: remove it and run stage 6 again")
    return chain


def backends_of(model: Path) -> tuple[Path, dict[str, Path]]:
    """The experiment that a model folder lies in, and the files of the back-ends that its stage 6 has made, by name.

    Those of x-vectors with the statistics of the fbank beside them are named e.g. `xvector+fbank-stats/lda-plda`.
    """
    exp = model.parent if model.name == "model" else model
    found = {path.stem: path for path in sorted(exp.glob("backends/sdpn/*.h5"))}
    of_both = sorted(exp.glob(f"backends/{SIDE_BY_SIDE}/*.h5"))
    return exp, found | {f"{SIDE_BY_SIDE}/{path.stem}": path for path in of_both}


def fitted_backend(model: Path, name: str) -> Path:
    """The file of a back-end of a model's experiment; a warning where the results there are not of this fit of it.

    Raises:
        SdpnError: there is none of that name, or it was fitted on x-vectors of another network.
    """
    exp, made = backends_of(model)
    if name not in made:
        raise _unknown(exp, made, name)
    _refuse_stale(exp, model, made[name])
    if not all(_made_with(row, made[name]) for row in _rows_of(exp, name)):
        warn(
            f"{made[name]} may not be the back-end of {exp / RESULTS}, whose calibration is not used: run stage 6 again"
        )
    return made[name]


def training_vectors_of(model: Path, side_by_side: bool) -> Path:
    """Return the folder of the x-vectors of the training set that lies beside a model, in its experiment.

    Args:
        side_by_side: whether they are to have the statistics of the fbank beside them.

    Raises:
        SdpnError: there are none.
    """
    exp, _ = backends_of(model)
    folder = (exp / "systems" / SIDE_BY_SIDE if side_by_side else exp) / "xvectors" / "train"
    if not vectors_file(folder).exists():
        raise SdpnError(f"{folder} has no x-vectors for a cohort: run stage 5, or give --cohort or --train")
    return folder


def _unknown(exp: Path, made: dict[str, Path], name: str) -> SdpnError:
    known = f"it has {', '.join(made)}" if made else "run stage 6 to make one"
    return SdpnError(f"{exp} has no back-end '{name}': {known}")


def _refuse_stale(exp: Path, model: Path, backend: Path) -> None:
    """Make sure that a back-end was fitted on x-vectors of the model that is there now.

    It says so itself; of one that does not, the x-vectors that lie there tell, if they are older.
    """
    sentence = (
        f"{backend} was fitted on x-vectors of another network: run stages 5 and 6 again, or give --backend '{PLAIN}'"
    )
    network = network_of(backend)
    if network is not None:
        if network != model_digest(model):
            raise SdpnError(sentence)
        return
    for directory in sorted(path for path in exp.glob("xvectors/*") if path.is_dir()):
        work = Work.finished(directory, "xvectors")
        vectors = vectors_file(directory)
        if work is None or not vectors.exists():
            continue
        other = work.fingerprint.get("model") != model_digest(model)
        if other or vectors.stat().st_mtime_ns > backend.stat().st_mtime_ns:
            raise SdpnError(sentence)
        return


def _calibration_of(exp: Path, name: str, backend: Path) -> Calibration | None:
    """Return the calibration that stage 6 learned for this fit of a back-end; None if there is none.

    A calibration with a negative weight is ignored: by it a higher score would mean different speakers.
    """
    for row in _rows_of(exp, name):
        if row.score_norm == "none" and not row.quality and row.calibration:
            found = Calibration(float(row.calibration["weight"]), float(row.calibration["offset"]))
            sane = 1e-6 < found.weight < 1e6 and abs(found.offset) < 1e6
            return found if sane and _made_with(row, backend) else None
    return None


def _why_uncalibrated(exp: Path, name: str, backend: Path | None, made: dict[str, Path]) -> str:
    """Say why a back-end has no calibration, and the line that makes one."""
    line = f"steps/score.py --calibration {{}} DATA {exp}"
    if backend is None or name not in made:
        return f"'{name}' is no back-end that stage 6 has made, and only those are calibrated"
    raw = [row for row in _rows_of(exp, name) if row.score_norm == "none" and not row.quality]
    if not raw:
        return f"stage 6 has no results of '{name}': `steps/score.py DATA {exp}` makes them"
    if not all(_made_with(row, backend) for row in raw):
        return f"the results are of another fit of the back-end: `steps/score.py DATA {exp}` makes them anew"
    why = next((row.not_calibrated for row in raw if row.not_calibrated), None)
    if why is None and not any(row.calibration for row in raw):
        return f"stage 6 was asked for none: `{line.format('clusters')}` makes one"
    why = why or "on the calibration trials its scores hardly tell targets from non-targets"
    return f"{why}; with labelled trials of your own, `{line.format('TRIALS')}` makes one"


def _rows_of(exp: Path, name: str) -> list[ResultRow]:
    """The rows of a back-end of the trained network, as `backends_of` names it, in the results of stage 6.

    There are none where there are no results.

    Raises:
        SdpnError: the results are damaged.
    """
    try:
        rows, _ = read_rows(exp)
    except FileNotFoundError:
        return []
    system, _, backend = name.rpartition("/")
    named = (system or "sdpn", backend)
    return [row for row in rows if (row.system, row.backend) == named and not row.fused]


def _made_with(row: ResultRow, backend: Path) -> bool:
    """Whether a row of the results was made with the back-end in this file; not where either does not say it."""
    return row.backend_digest is not None and row.backend_digest == digest_of(backend)
