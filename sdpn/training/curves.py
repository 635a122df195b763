"""The course of a training as a picture."""

from pathlib import Path

from sdpn.console import say
from sdpn.files import atomic_path, digest
from sdpn.shards import Work
from sdpn.training.log import read_log

PANELS = {
    "losses": ("loss", "assignment_loss", "mean_entropy_loss", "diversity_loss", "dimension_loss"),
    "prototypes": ("prototypes_in_use", "assignment_perplexity"),
    "effective rank of the embeddings": ("effective_rank",),
    "distance to the nearest neighbour": ("neighbour_distance",),
    "shares": ("agreement", "living_dimensions", "waiting_share", "accuracy", "kept_share", "corrected_share"),
    "share of the most frequent class": ("largest_class_share",),
    "margin, radians": ("margin",),
    "entropy of the targets, nats": ("target_entropy",),
    "gradient norm": ("gradient_norm",),
    "learning rate": ("lr",),
    "utterances a second": ("utterances_per_second",),
    "equal error rate, %": ("probe_eer", "dev_eer"),
}
_PERCENT = ("probe_eer", "dev_eer")


def draw_curves(exp_dir: Path) -> Path | None:
    """Draw `exp_dir`/train.jsonl as `exp_dir`/training.png unless that is there; None where there is nothing to draw.

    A panel for each of PANELS whose figures are there, over epochs.
    """
    log = exp_dir / "train.jsonl"
    lines = read_log(log)
    if not lines:
        return None
    work = Work(exp_dir, "curves", {"log": log, "panels": digest(PANELS)})
    reason = work.stale_reason()
    if reason is None:
        return exp_dir / "training.png"
    if not work.is_new():
        say(f"  {exp_dir}/training.png: {reason}: drawn again")
    work.begin()
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = set().union(*lines)
    panels = {title: [f for f in figures if f in names] for title, figures in PANELS.items() if names & set(figures)}
    steps_per_epoch = max(line["step"] for line in lines) / max(line["epoch"] for line in lines)
    figure = Figure(figsize=(16, 3.2 * -(-len(panels) // 3)), layout="constrained")
    for number, (title, figures) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(-(-len(panels) // 3), 3, number)
        for name in figures:
            scale = 100 if name in _PERCENT else 1
            points = [(line["step"] / steps_per_epoch, scale * line[name]) for line in lines if name in line]
            words = name.replace("_", " ").replace("eer", "EER")
            axes.plot(*zip(*points, strict=True), label=words, marker="." if len(points) < 30 else None)
        axes.set(title=title, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if len(figures) > 1 or figures[0] in _PERCENT:  # of halves or of trials: quite another thing
            axes.legend()
    with atomic_path(exp_dir / "training.png") as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    work.finish([exp_dir / "training.png"])
    return exp_dir / "training.png"
