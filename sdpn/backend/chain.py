"""A back-end as a line of text: transforms, then a scorer, e.g. `mean-subtract | lda 150 | length-norm | plda`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from sdpn.backend.cosine import Cosine
from sdpn.backend.plda import PLDA
from sdpn.backend.scorer import Scorer
from sdpn.backend.transforms import LDA, LengthNorm, MeanSubtract, Whiten
from sdpn.errors import SdpnError


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("a whole number, at least 1")
    return int(text)


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
    "mean-subtract": Step(MeanSubtract),
    "length-norm": Step(LengthNorm),
    "lda": Step(LDA, {"dim": _count}, bare="dim", required=True),
    "whiten": Step(Whiten, {"dim": _count}, bare="dim"),
    "cosine": Step(Cosine),
    "plda": Step(PLDA, {"iterations": _count, "length-norm": _one_of("kaldi", "simple", "none")}),
}


class Chain:
    """Transforms that follow each other, and the scorer that ends them; fitted on training x-vectors alone.

    Example::

        chain = Chain("mean-subtract | lda 150 | length-norm | plda").fit(train, classes)
        vectors = chain.transform(evaluation)
        scores = chain.scorer.score_pairs(vectors, vectors, enroll_index, test_index)

    Attributes:
        text: the chain with its blanks in order, equal for equal chains.
        transforms: the steps before the scorer.
        scorer: the last step.
        needs_classes: whether a step learns from classes.
        notes_: what the steps have to say after `fit`.

    Raises:
        SdpnError: the text is no chain: a step or an option is unknown, a value is not allowed, or the scorer is
            missing or is not the last step.
    """

    def __init__(self, text: str):
        parts = [part.split() for part in text.split("|")]
        steps = [_parse(words, text) for words in parts]
        self.text = " | ".join(" ".join(words) for words in parts)
        if not isinstance(steps[-1], Scorer) or any(isinstance(step, Scorer) for step in steps[:-1]):
            scorers = ", ".join(name for name, step in STEPS.items() if issubclass(step.make, Scorer))
            raise SdpnError(f"the chain '{self.text}' must have one scorer, as its last step: one of {scorers}")
        self.transforms, self.scorer = steps[:-1], steps[-1]
        self.needs_classes = any(step.needs_classes for step in steps)

    def fit(self, X: np.ndarray, classes: np.ndarray | None = None) -> "Chain":
        """Fit every step on what the steps before it make of `X`; equal inputs give equal steps on any number of cores.

        Args:
            X: (n_vectors, n_dimensions), training x-vectors.
            classes: (n_vectors,) integers, where the chain needs them. A vector of class -1 belongs to none: the
                steps that learn from classes leave it out, the others do not.

        Raises:
            SdpnError: a step cannot be fitted on these vectors; the sentence begins with its name.
        """
        if self.needs_classes and classes is None:
            raise SdpnError(f"the chain '{self.text}' needs the class of every training vector")
        with threadpool_limits(1):  # decompositions on several threads differ in the last digits, and gain little
            for step in [*self.transforms, self.scorer]:
                if step.needs_classes:
                    labelled = classes >= 0
                    step.fit(X[labelled], classes[labelled])
                else:
                    step.fit(X)
                if step is not self.scorer:
                    X = step.transform(X)
        self.notes_ = [step.note_ for step in [*self.transforms, self.scorer] if step.note_]
        return self

    def transform(self, X: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
        """Take vectors through every transform into the space of the scorer.

        Args:
            X: (n_vectors, n_dimensions), x-vectors or means of several.
            counts: (n_vectors,), how many x-vectors each row is the mean of; None for one.
        """
        for step in self.transforms:
            X = step.transform(X)
        return self.scorer.transform(X, counts)


def _parse(words: list[str], text: str) -> Any:
    if not words or words[0] not in STEPS:
        name = words[0] if words else ""
        raise SdpnError(f"unknown step '{name}' in the chain '{text}'; allowed: {', '.join(STEPS)}")
    name, step = words[0], STEPS[words[0]]
    given: dict[str, Any] = {}
    for word in words[1:]:
        option, equals, value = word.partition("=")
        if not equals:
            option, value = step.bare, word
        if option not in step.options or option in given:
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
