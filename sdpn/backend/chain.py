"""A back-end as a line of text: transforms, then a scorer, e.g. `mean-subtract | lda 150 | length-norm | plda`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sdpn.backend.adaptation import CORAL
from sdpn.backend.config import ENROLLMENTS
from sdpn.backend.cosine import Cosine
from sdpn.backend.plda import LENGTH_NORMS, PLDA
from sdpn.backend.scorer import Scorer, blocks
from sdpn.backend.transforms import LDA, WCCN, LengthNorm, MeanSubtract, SideBySide, Whiten
from sdpn.backend.vectors import class_means
from sdpn.errors import SdpnError, refuse_unknown


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number, at least 1")
    return int(text)


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError("a number, at least 0")
    return number


def _yes(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return read


@dataclass(frozen=True)
class Step:
    """What may stand between two bars of a chain.

    Attributes:
        make: the class of the step.
        options: the options written as `name=value`, with the function that reads a value.
        bare: the option that a value without a name sets (`lda 150`), which the step then needs if `required`.
        required: whether the bare value may not be left out.
    """

    make: type
    options: dict[str, Callable[[str], Any]] = field(default_factory=dict)
    bare: str | None = None
    required: bool = False


STEPS = {
    "side-by-side": Step(SideBySide, {"dim": _count}, bare="dim", required=True),
    "mean-subtract": Step(MeanSubtract),
    "length-norm": Step(LengthNorm),
    "lda": Step(LDA, {"dim": _count}, bare="dim", required=True),
    "wccn": Step(WCCN),
    "whiten": Step(Whiten, {"dim": _count}, bare="dim"),
    "coral": Step(CORAL, {"regularization": _share}),
    "cosine": Step(Cosine),
    "plda": Step(
        PLDA,
        {
            "iterations": _count,
            "length-norm": _one_of(*LENGTH_NORMS),
            "smoothing": _share,
            "adapt": _yes,
            "mean-diff": _share,
            "within": _share,
            "between": _share,
        },
    ),
}


class Chain:
    """Transforms that follow each other, and the scorer that ends them; fitted on training x-vectors alone.

    Example::

        chain = Chain("mean-subtract | lda 150 | length-norm | plda").fit(train, classes)
        vectors = chain.transform(evaluation)
        scores = chain.scorer.score_pairs(vectors, vectors, enroll_index, test_index)

    Args:
        text: the steps, separated by bars.
        enrollment: of ENROLLMENTS: x-vectors are averaged `raw`, as in Kaldi's recipes, and their mean goes through the
            chain; or what the transforms make of each is averaged. None: raw where the chain ends in plda.

    Attributes:
        text: the chain with its blanks in order, equal for equal chains.
        enrollment: of ENROLLMENTS.
        transforms: the steps before the scorer.
        scorer: the last step.
        needs_classes: whether a step learns from classes.
        side_by_side: whether it is of x-vectors with the statistics of the fbank beside them.
        needs_adaptation: whether a step adapts to unlabelled vectors of the domain of the trials.
        learns: whether a step learns more from the training vectors than their dimension.
        notes_: what the steps have to say after `fit`.

    Raises:
        SdpnError: the text is no chain: a step or an option is unknown, a value is not allowed, or the scorer is
            missing or is not the last step.
    """

    def __init__(self, text: str, enrollment: str | None = None):
        parts = [part.split() for part in text.split("|")]
        steps = [_parse(words, text) for words in parts]
        self.text = " | ".join(" ".join(words) for words in parts)
        if not isinstance(steps[-1], Scorer) or any(isinstance(step, Scorer) for step in steps[:-1]):
            scorers = ", ".join(name for name, step in STEPS.items() if issubclass(step.make, Scorer))
            raise SdpnError(f"the chain '{self.text}' must have one scorer, as its last step: one of {scorers}")
        self.transforms, self.scorer = steps[:-1], steps[-1]
        if enrollment is None:
            enrollment = "raw" if isinstance(self.scorer, PLDA) else "transformed"
        refuse_unknown("enrollment", enrollment, ENROLLMENTS)
        self.enrollment = enrollment
        self.side_by_side = any(isinstance(step, SideBySide) for step in steps)
        self.needs_classes = any(step.needs_classes for step in steps)
        self.needs_adaptation = any(step.needs_adaptation for step in steps)
        self.learns = not all(isinstance(step, (LengthNorm, Cosine)) for step in steps)

    @property
    def steps(self) -> list[Any]:
        """The transforms and the scorer."""
        return [*self.transforms, self.scorer]

    def fit(self, X: np.ndarray, classes: np.ndarray | None = None, adaptation: np.ndarray | None = None) -> "Chain":
        """Fit every step on what the steps before it make of `X`; equal inputs give equal steps on any number of cores.

        Args:
            X: (n_vectors, n_dimensions), training x-vectors.
            classes: (n_vectors,) integers, where the chain needs them. A vector of class -1 belongs to none: the
                steps that learn from classes leave it out, the others do not.
            adaptation: (n_others, n_dimensions), unlabelled vectors of the domain of the trials, where the chain
                adapts to them.

        Raises:
            SdpnError: a step cannot be fitted on these vectors; the sentence begins with its name.
        """
        if self.needs_classes and classes is None:
            raise SdpnError(f"the chain '{self.text}' needs the class of every training vector")
        if self.needs_adaptation and adaptation is None:
            raise SdpnError(f"the chain '{self.text}' needs unlabelled vectors to adapt to")
        labelled = None if classes is None else classes >= 0
        with threadpool_limits(1):  # decompositions on several threads differ in the last digits, and gain little
            for step in self.steps:
                others = {"adaptation": adaptation} if step.needs_adaptation else {}
                if step.needs_classes and classes is not None:
                    step.fit(X[labelled], classes[labelled], **others)
                else:
                    step.fit(X, **others)
                if step is not self.scorer:
                    X = step.transform_training(X)
                    adaptation = None if adaptation is None else step.transform(adaptation)
        self.notes_ = [step.note_ for step in self.steps if step.note_]
        return self

    def transform(self, X: np.ndarray, training: bool = False) -> np.ndarray:
        """Take x-vectors (n_vectors, n_dimensions) through every step into the space of the scorer.

        Args:
            training: whether they are of the training set, which `coral` moves into the domain of the trials.
        """
        return _in_blocks(lambda rows: self.scorer.transform(self.before_scorer(rows, training)), X)

    def enroll(self, X: np.ndarray, models: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Enroll models of one or several utterances, each a mean: see `enrollment`.

        Args:
            X: (n_vectors, n_dimensions), x-vectors.
            models: (n_vectors,) integers 0 .. n_models - 1, none of them missing: whose utterance each is.

        Returns:
            the models in the space of the scorer (n_models, D), and the number of utterances of each (n_models,).
        """
        if self.enrollment == "raw":
            counts, means = class_means(X.astype(np.float64), models)
            return self.scorer.transform(_in_blocks(self.before_scorer, means), counts), counts
        parts = _in_blocks(lambda rows: self.scorer.before_mean(self.before_scorer(rows, False)), X)
        counts, means = class_means(parts, models)
        return self.scorer.transform(means, counts), counts

    def before_scorer(self, X: np.ndarray, training: bool = False) -> np.ndarray:
        """What the transforms make of x-vectors (n_vectors, n_dimensions)."""
        for step in self.transforms:
            X = step.transform_training(X) if training else step.transform(X)
        return X


def _in_blocks(transform: Callable[[np.ndarray], np.ndarray], X: np.ndarray) -> np.ndarray:
    """`transform(X)`, some rows at a time, so that no step holds a copy of them all."""
    made = None
    try:
        for block in blocks(len(X), X.shape[-1]):
            rows = transform(X[block])
            made = np.empty((len(X), rows.shape[1])) if made is None else made
            made[block] = rows
    except SdpnError:  # its sentence counts the rows of one block: let it count them all
        transform(X)
        raise
    return transform(X) if made is None else made


def _parse(words: list[str], text: str) -> Any:
    if not words or words[0] not in STEPS:
        name = words[0] if words else ""
        raise SdpnError(f"unknown step '{name}' in the chain '{text}'; allowed: {', '.join(STEPS)}")
    name, step = words[0], STEPS[words[0]]
    given: dict[str, Any] = {}
    for word in words[1:]:
        named, equals, value = word.partition("=")
        option = named if equals else step.bare
        value = value if equals else word
        if option is None or option not in step.options or option in given:
            raise SdpnError(f"'{word}' cannot stand in the step '{' '.join(words)}'; {_usage(name)}")
        try:
            given[option] = step.options[option](value)
        except ValueError as error:
            raise SdpnError(f"'{word}' in the step '{' '.join(words)}' must be {error}") from None
    if step.required and step.bare not in given:
        raise SdpnError(f"the step '{name}' lacks its value; {_usage(name)}")
    return step.make(**{option.replace("-", "_"): value for option, value in given.items()})


def _usage(name: str) -> str:
    step = STEPS[name]
    if not step.options:
        return f"write it as `{name}`"
    named = [f"[{option}=...]" for option in step.options if option != step.bare]
    bare = [] if step.bare is None else [f"{step.bare.upper()}" if step.required else f"[{step.bare.upper()}]"]
    return f"write it as `{' '.join([name, *bare, *named])}`"
