"""Names that nobody knows: a few of them for a sentence, and what would make them known."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

from sdpn.errors import SdpnError
from sdpn.files import write_text

_MOST = 10
_SAMPLED = 200
_ONE_SEPARATOR = str.maketrans("/_", "--")


def some(names: Sequence[str], most: int = _MOST) -> str:
    """The first few of `names` for a sentence, with the number of the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def describe_unknown(unknown: Collection[str], known: Iterable[str]) -> str:
    """Name at most 10 of the names that are not known, count the others, and say what would make them known.

    Two lists often differ in one thing alone: an ending (`.wav`), folders or a corpus's name in front, or the character
    between the parts of a name (a path in the one, an id in the other). The difference that explains most of the names
    is told, with the number of names that it explains, counted over all of them.

    Args:
        unknown: the names, each once.
        known: the names that would have been right.

    Example:
        >>> describe_unknown(["a/1.wav", "a/2.wav"], ["a-1", "a-2"])
        "a/1.wav, a/2.wav; 2 of 2 would be known without the ending '.wav' and with '-' for '/', e.g. a/1.wav as a-1"
    """
    unknown = list(unknown)
    hint = _hint(unknown, list(known))
    return f"{some(unknown)}; {hint}" if hint else some(unknown)


def refuse_unknown(
    unknown: Sequence[str],
    known: Iterable[str],
    total: int,
    where: str | Path,
    set_name: str,
    listing: Path,
    skipped: Sequence[tuple[str, str]] = (),
) -> None:
    """Make sure that every utterance of a trial list is in the evaluation set; all that are not are listed.

    Args:
        unknown: the names that are not there.
        known: the names that are.
        total: how many names the list has.
        where: the trial list.
        listing: the file that gets all of them.
        skipped: what was left out of the set, and why: they may be among it.

    Raises:
        SdpnError: some are not there; see `describe_unknown`.
    """
    listing.unlink(missing_ok=True)
    if unknown:
        write_text(listing, "".join(f"{name}\n" for name in unknown))
        what, why = skipped[0] if skipped else ("", "")
        left_out = f"{len(skipped)} of its files cannot be used, e.g. {what}: {why}; " if skipped else ""
        raise SdpnError(
            f"{where}: {len(unknown)} of its {total} names are no usable utterances of {set_name}: "
            f"{describe_unknown(unknown, known)}; {listing} lists them all; {left_out}a name is an utterance id or a "
            "path below the evaluation set"
        )


def _hint(unknown: list[str], known: list[str]) -> str:
    """Say what would make most of the unknown names known; nothing where no single change makes any of them known."""
    flat_unknown, flat_known = _flat(unknown), _flat(known)
    sample = set(flat_unknown[:: max(1, len(unknown) // _SAMPLED)])
    best: list[tuple[int, int]] = []
    for cut_unknown, cut_known in _CUTS:
        shortened = cut_known(flat_known)
        if sample.isdisjoint(shortened) if cut_unknown is _whole else set(shortened).isdisjoint(cut_unknown(sample)):
            continue
        # Where a change makes two known names one, it does not tell which of them was meant
        twice = {name for name, times in Counter(shortened).items() if times > 1 or not name}
        row = {name: index for index, name in enumerate(shortened) if name not in twice}
        pairs = [
            (index, row[name])
            for index, name in enumerate(cut_unknown(flat_unknown))
            if name is not None and name in row
        ]
        best = max(best, pairs, key=len)
        if len(best) == len(unknown):
            break
    if not best:
        return ""
    examples = [(unknown[index], known[row]) for index, row in best[:: max(1, len(best) // _SAMPLED)]]
    differences = [_difference(*example) for example in examples]
    common = Counter(differences).most_common(1)[0][0]
    name, as_known = examples[differences.index(common)]
    return f"{len(best)} of {len(unknown)} would be known {common}, e.g. {name} as {as_known}"


def _flat(names: list[str]) -> list[str]:
    """The names without an ending, with one character between their parts: equal for a path and an id made of it."""
    return [_stem(name) for name in "\n".join(names).translate(_ONE_SEPARATOR).split("\n")] if names else []


def _stem(name: str) -> str:
    """The name without an ending like `.wav`; a number behind a point, as in `a_0.9`, is none."""
    stem, _, ending = name.rpartition(".")
    return stem if stem and len(ending) <= 5 and ending.isalnum() and not ending.isdecimal() else name


def _whole(names: Iterable[str]) -> Iterable[str]:
    return names


def _without_first(parts: int, names: Iterable[str]) -> list[str | None]:
    """What stands behind the first parts of flat names; None where a name has no more of them."""
    split = (name.split("-", parts) for name in names)
    return [own[parts] if len(own) > parts else None for own in split]


def _without_last(parts: int, names: Iterable[str]) -> list[str | None]:
    """What stands before the last parts of flat names; None where a name has no more of them."""
    split = (name.rsplit("-", parts) for name in names)
    return [own[0] if len(own) > parts else None for own in split]


_Cut = Callable[[Iterable[str]], Iterable[str | None]]
_ENDS: list[_Cut] = [
    partial(cut, parts) for cut, most in ((_without_first, 5), (_without_last, 2)) for parts in range(1, most + 1)
]
_CUTS: list[tuple[_Cut, _Cut]] = [
    (_whole, _whole),
    *((cut, _whole) for cut in _ENDS),
    *((_whole, cut) for cut in _ENDS),
]
"""What to cut off from the unknown names and from the known ones, to see whether they are the same then."""


def _difference(name: str, known: str) -> str:
    """What has to change in `name` for it to be `known`, in words."""
    words = []
    stem, known_stem = _stem(name), _stem(known)
    ending, known_ending = name[len(stem) :], known[len(known_stem) :]
    if ending != known_ending:
        words += [f"without the ending '{ending}'"] if ending else []
        words += [f"with the ending '{known_ending}'"] if known_ending else []
    flat, known_flat = stem.translate(_ONE_SEPARATOR), known_stem.translate(_ONE_SEPARATOR)
    if flat.endswith(known_flat) and flat != known_flat:
        words.append(f"without '{stem[: len(stem) - len(known_stem)]}' in front")
        stem = stem[len(stem) - len(known_stem) :]
    elif known_flat.endswith(flat) and flat != known_flat:
        words.append(f"with '{known_stem[: len(known_stem) - len(stem)]}' in front")
        known_stem = known_stem[len(known_stem) - len(stem) :]
    elif flat.startswith(known_flat) and flat != known_flat:
        words.append(f"without '{stem[len(known_stem) :]}' at the end")
        stem = stem[: len(known_stem)]
    elif known_flat.startswith(flat) and flat != known_flat:
        words.append(f"with '{known_stem[len(stem) :]}' at the end")
        known_stem = known_stem[: len(stem)]
    replaced = {(a, b) for a, b in zip(stem, known_stem, strict=False) if a != b}
    words += [f"with '{b}' for '{a}'" for a, b in sorted(replaced)]
    return " and ".join(words)
