"""When the figures of a fine-tuning speak of a collapse."""

from sdpn.finetune.config import FineTuneConfig
from sdpn.training.log import embeddings_alike

ADVICE = "try another folder with a lower lr, fewer clusters, --no-gate or a longer margin_warmup_epochs"


def collapse(line: dict[str, float], config: FineTuneConfig, n_classes: int) -> str | None:
    """Why a log line speaks of a collapse, in words; None where it does not.

    One class that takes all, a gate that hardly lets any utterance pass, or embeddings that are all alike.
    """
    reasons = []
    if n_classes > 2 and line["largest_class_share"] > config.max_class_share:
        reasons.append(f"one of {n_classes} classes is chosen for {line['largest_class_share']:.0%} of the utterances")
    if line["kept_share"] < config.min_kept:
        reasons.append(f"the gate lets {line['kept_share']:.0%} of the utterances pass")
    return ", ".join(reasons + embeddings_alike(line, config)) or None
