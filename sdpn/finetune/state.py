"""The state of a fine-tuning in plain words; see `sdpn.training.state.describe`."""

from pathlib import Path
from typing import Any

from sdpn import config as configuration
from sdpn.console import counted
from sdpn.finetune.collapse import collapse
from sdpn.finetune.config import FineTuneConfig
from sdpn.training import state

RECORDED = ("augment", "inputs", "init", "learned_from")  # what config.yaml holds beside the settings


class FineTuning:
    """What is said of stage 8, see `sdpn.training.state.Kind`.

    Args:
        settings: of config.yaml.
    """

    def __init__(self, settings: dict[str, Any]):
        known = {name: setting for name, setting in settings.items() if name not in RECORDED}
        self.config = configuration.read(None, FineTuneConfig, known)
        self.epochs = self.config.all_epochs
        self.headline = (
            f"{settings['init']} fine-tuned on {settings['learned_from']}, batches of {self.config.batch_size}, "
            f"{counted(self.config.epochs, 'epoch')} and {self.config.large_margin_epochs} with a large margin"
        )

    def figures(self, line: dict[str, float]) -> list[str]:
        return [
            f"crops that are given their class: {line['accuracy']:.0%}, margin {line['margin']:.2f}",
            f"loss gate: {line['kept_share']:.0%} of the utterances pass, {line['corrected_share']:.1%} by a corrected "
            "label",
            f"embeddings: effective rank {line['effective_rank']:.1f}, {line['neighbour_distance']:.2f} from their "
            "nearest neighbour",
        ]

    def collapse(self, line: dict[str, float], total_steps: int) -> str | None:
        return collapse(line, self.config, int(line["n_classes"]))


def describe(exp_dir: Path) -> list[str]:
    """What a person wants to know of a training of stage 4 or 8, a line for each thing.

    Raises:
        SdpnError: there is no training.
    """
    tuned = "learned_from" in state.settings_of(exp_dir)
    return state.describe(exp_dir, FineTuning if tuned else state.Sdpn)
