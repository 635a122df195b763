"""When the figures of a training speak of a collapse."""

from sdpn.training.config import TrainConfig


def collapse(figures: dict[str, float], config: TrainConfig) -> str | None:
    """Why the figures of a log line speak of a collapse, in words; None where they do not."""
    reasons = []
    if figures["prototypes_in_use"] < max(2, config.min_prototypes_in_use * config.prototypes):
        reasons.append(f"{figures['prototypes_in_use']:.0f} of {config.prototypes} prototypes in use")
    if figures["effective_rank"] < config.min_effective_rank:
        reasons.append(f"effective rank {figures['effective_rank']:.2f}")
    if figures["neighbour_distance"] < config.min_neighbour_distance:
        reasons.append(f"embeddings {figures['neighbour_distance']:.3f} from their nearest neighbour")
    return ", ".join(reasons) or None
