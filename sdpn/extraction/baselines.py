"""Systems that stand in the table for comparison alone, so that what training has brought can be seen."""

FBANK_STATISTICS = "fbank-stats"  # the mean and deviation of every filterbank bin over the utterance
UNTRAINED = "untrained"  # the network before training
BASELINES = (FBANK_STATISTICS, UNTRAINED)
ALL = ",".join(BASELINES)


def baselines_of(text: str) -> list[str]:
    """Read which baselines are asked for, e.g. "fbank-stats,untrained"; "none" is an empty list.

    Raises:
        ValueError: a name is unknown, or there is none; a sentence.
    """
    found = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if found == ["none"]:
        return []
    unknown = [name for name in found if name not in BASELINES]
    if unknown or not found:
        what = f"unknown: {', '.join(unknown)}" if unknown else "empty"
        raise ValueError(f"'baselines' is {what}; allowed: none, or of {', '.join(BASELINES)}, separated by commas")
    return found
