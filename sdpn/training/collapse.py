"""When the figures of a training speak of a collapse."""

import math

from sdpn.training.config import TrainConfig

ADVICE = (
    "try another folder with a lower lr, a larger batch_size, a larger diversity_weight or a smaller teacher_sharpening"
)


def usage_window(config: TrainConfig, epoch_steps: int) -> int:
    """The teacher's last assignments in which prototypes in use are counted.

    Two utterances to a prototype, of which equal use takes 86 % of the prototypes; but never more than half an epoch,
    nor less than a step: a network that has collapsed in the first half of an epoch is to be seen at its end.
    """
    step_assignments = config.batch_size * config.teacher_views
    return max(step_assignments, min(2 * config.prototypes, epoch_steps * step_assignments // 2))


def collapse(line: dict[str, float], config: TrainConfig, epoch_steps: int) -> str | None:
    """Why a log line speaks of a collapse, in words; None where it does not.

    Prototypes are judged once the window in which they are counted is full: a few utterances cannot use many. So are
    the teacher's targets: where they are all alike, some prototype is still a little ahead, and many look in use.
    """
    reasons = []
    counted = line["step"] * config.batch_size * config.teacher_views >= usage_window(config, epoch_steps)
    if counted and line["prototypes_in_use"] < max(2, config.min_prototypes_in_use * config.prototypes):
        reasons.append(f"{line['prototypes_in_use']:.0f} of {config.prototypes} prototypes in use")
    entropy, largest = line["target_entropy"], math.log(config.prototypes)
    if counted and entropy > config.max_target_entropy * largest:
        reasons.append(f"targets that choose no prototype, entropy {entropy:.2f} of at most {largest:.2f}")
    if line["effective_rank"] < min(config.min_effective_rank, (1 + config.batch_size) / 2):  # that of 2 is at most 2
        reasons.append(f"effective rank {line['effective_rank']:.2f}")
    if line["neighbour_distance"] < config.min_neighbour_distance:
        reasons.append(f"embeddings {line['neighbour_distance']:.3f} from their nearest neighbour")
    return ", ".join(reasons) or None
