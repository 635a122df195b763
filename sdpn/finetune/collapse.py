"""When the figures of a fine-tuning speak of a collapse."""

from sdpn.finetune.config import FineTuneConfig

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
    if line["effective_rank"] < min(config.min_effective_rank, (1 + config.batch_size) / 2):  # that of 2 is at most 2
        reasons.append(f"effective rank {line['effective_rank']:.2f}")
    if line["neighbour_distance"] < config.min_neighbour_distance:
        reasons.append(f"embeddings {line['neighbour_distance']:.3f} from their nearest neighbour")
    return ", ".join(reasons) or None
