"""Whether another round is worth it, by what can be known without labels."""

from dataclasses import dataclass
from pathlib import Path

from sdpn.errors import SdpnError
from sdpn.files import atomic_path
from sdpn.finetune.labels import LABELS
from sdpn.shards import Work
from sdpn.training.log import read_log

ALIKE = 0.95  # normalized mutual information of the classes of two rounds from which on they teach nothing new
WORSE = 1.1  # so much higher than in the round before the error rate of halves must be,
CLOSED = 0.05  # or so much lower the share that the gate lets pass, for the last round to have done harm


@dataclass(frozen=True)
class Round:
    """What is known of a round without labels; what is not known is None.

    Attributes:
        name: of its folder.
        probe_eer: of telling halves of training utterances apart, after the last epoch.
        kept_share: utterances that the gate lets pass, in the last epoch.
        classes: that it was trained on.
        silhouette: of their clusters.
        agreement: normalized mutual information of its classes with those of the round before.
    """

    name: str
    probe_eer: float | None
    kept_share: float | None
    classes: int | None
    silhouette: float | None
    agreement: float | None


def read_round(folder: Path) -> Round:
    """Read what an experiment, of stage 4 or 8, says of itself.

    Raises:
        SdpnError: nothing was trained there.
    """
    lines = [line for line in read_log(folder / "train.jsonl") if "probe_eer" in line or "kept_share" in line]
    if not (folder / "model").exists():
        raise SdpnError(f"{folder}/model is missing: run stage {4 if not (folder / LABELS).exists() else 8} first")
    last = lines[-1] if lines else {}
    labels = Work(folder / LABELS, LABELS, {}).report()
    previous = labels.get("previous") or {}
    return Round(
        folder.name,
        last.get("probe_eer"),
        last.get("kept_share"),
        labels.get("classes"),
        labels.get("silhouette"),
        previous.get("nmi"),
    )


def reason_to_stop(before: Round, last: Round, agreement: float | None) -> str | None:
    """Why the round after `last` is not worth it, in words; None where it is.

    Args:
        before: the round before `last`, or the training of stage 4.
        agreement: normalized mutual information of the classes that `last` would give with those that it was trained
            on; None where that is not known.
    """
    if agreement is not None and agreement >= ALIKE:
        return f"its classes would be those of {last.name} (NMI {agreement:.3f}, at least {ALIKE})"
    if before.probe_eer is not None and last.probe_eer is not None and last.probe_eer > WORSE * before.probe_eer:
        return (
            f"halves of utterances are told apart worse after {last.name} than before "
            f"({last.probe_eer:.2%}, {before.probe_eer:.2%})"
        )
    if before.kept_share is not None and last.kept_share is not None and last.kept_share < before.kept_share - CLOSED:
        return f"the loss gate lets fewer utterances pass ({last.kept_share:.0%}, {before.kept_share:.0%} before)"
    return None


def table_of(rounds: list[Round]) -> list[str]:
    """The rounds as lines of text."""
    lines = ["round, probe EER %, kept by the gate %, classes, silhouette, NMI with the classes before"]
    for one in rounds:
        rate, kept = (None if share is None else 100 * share for share in (one.probe_eer, one.kept_share))
        figures = [_shown(rate, 2), _shown(kept, 0), _shown(one.classes, 0)]
        lines.append(", ".join([one.name, *figures, _shown(one.silhouette, 3), _shown(one.agreement, 3)]))
    return lines


def draw_rounds(rounds: list[Round], path: Path) -> None:
    """Draw the figures by which rounds stop, a panel for each."""
    from matplotlib.figure import Figure

    panels = {
        "EER of halves of utterances, %": [None if one.probe_eer is None else 100 * one.probe_eer for one in rounds],
        "kept by the loss gate, %": [None if one.kept_share is None else 100 * one.kept_share for one in rounds],
        "NMI of the classes with those before": [one.agreement for one in rounds],
        "silhouette of the clusters": [one.silhouette for one in rounds],
    }
    figure = Figure(figsize=(14, 3.2), layout="constrained")
    for number, (title, values) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), number)
        known = [(index, value) for index, value in enumerate(values) if value is not None]
        axes.plot(*zip(*known, strict=True), marker="o") if known else None
        axes.set(title=title, xlim=(-0.3, len(rounds) - 0.7))
        axes.set_xticks(range(len(rounds)), [one.name for one in rounds])
        axes.grid(alpha=0.3)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def _shown(figure: float | None, digits: int) -> str:
    return "-" if figure is None else f"{figure:.{digits}f}"
