"""One sitting of a training: whether the folder is its own, training to the end or a signal, and what was made."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from sdpn.config import parse_yaml
from sdpn.console import say, timed
from sdpn.errors import SdpnError
from sdpn.files import exclusive, write_text
from sdpn.shards import Work
from sdpn.training.config import STOPPED_BY_SIGNAL, UNRELATED_TO_THE_RESULT
from sdpn.training.curves import draw_curves
from sdpn.training.devices import keep_freed_memory
from sdpn.training.ranks import Ranks


def training_work(exp_dir: Path, resolved: dict[str, Any]) -> Work:
    """The training as a piece of work: done once its model is written, whatever decides only what is watched."""
    unrelated = _unrelated(resolved)
    decisive = {name: setting for name, setting in resolved.items() if name not in unrelated}
    return Work(exp_dir, "train", decisive)


def claim(exp_dir: Path, resolved: dict[str, Any]) -> None:
    """Make `exp_dir` this training's: check that none or the same one has saved anything there, write `config.yaml`.

    Args:
        resolved: every setting of the training, and the fingerprints of its data, as a plain dictionary.

    Raises:
        SdpnError: another training has saved something there; the sentence says what differs.
    """
    path = exp_dir / "config.yaml"
    # Where the finished training is this one, config.yaml is written anew if it is damaged
    begun = any((exp_dir / "checkpoints").glob("*.pt")) or (exp_dir / "model").exists()
    if begun and not training_work(exp_dir, resolved).was_made_so():
        before = _settings_of(path)
        if before is None:
            raise SdpnError(
                f"{exp_dir} holds a training, but {path} is missing or unreadable, so nothing tells whether it is this "
                f"one: choose another experiment folder, or remove {exp_dir} to train anew"
            )
        differences = _differences(before, resolved, "")
        if differences:
            remedy = f"choose another experiment folder, or remove {exp_dir} to train anew"
            if [difference.split()[0] for difference in differences] == ["epochs"]:  # "epochs was 30, is 60"
                remedy += f"; --init {exp_dir} with another folder trains its model further"
            raise SdpnError(f"{exp_dir} holds another training: {'; '.join(differences)}: {remedy}")
    text = yaml.safe_dump(resolved, sort_keys=False)
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)


def _settings_of(path: Path) -> dict[str, Any] | None:
    try:
        settings = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    return settings if isinstance(settings, dict) else None


def _unrelated(settings: dict[str, Any]) -> frozenset[str]:
    """The keys that do not decide the result; where the model is a mean of checkpoints, when they are taken does."""
    averaged = settings.get("average_checkpoints", 1) > 1
    return UNRELATED_TO_THE_RESULT - ({"checkpoint_every"} if averaged else set())


def _differences(before: dict, now: dict, prefix: str) -> list[str]:
    differences, unrelated = [], _unrelated(now)
    for name in [*now, *(name for name in before if name not in now)]:
        if name in unrelated:
            continue
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            differences += _differences(old, new, f"{prefix}{name}.")
        elif old != new and prefix == "inputs.":
            differences.append(f"the {name} were made anew or stored in another form")
        elif old != new:
            differences.append(f"{prefix}{name} was {old}, is {new}")
    return differences


def sit(
    exp: Path,
    resolved: dict[str, Any],
    ranks: Ranks,
    prepare: Callable[[], None],
    fit: Callable[[], list[Path] | None],
    announcement: str,
) -> int:
    """Train in the folder `exp`, unless that is done.

    Args:
        resolved: every setting, and the fingerprints of the data, as a plain dictionary.
        prepare: called on the first rank before the folder is touched, for its errors.
        fit: trains; returns the files of the model, None where a signal stopped it.
        announcement: what is going to be trained, a line.

    Returns:
        The exit status of the step.
    """
    work = training_work(exp, resolved)
    with ExitStack() as stack:

        def begin() -> bool:
            """Make the experiment's folder this training's; whether there is anything left to do."""
            prepare()
            stack.enter_context(exclusive(exp))
            claim(exp, resolved)
            reason = work.stale_reason()
            if reason and not work.is_new():
                say(f"{exp}: {reason}: made again from the newest checkpoint")
            return reason is not None

        ranks.check_alike(resolved)
        if not ranks.on_first(begin):
            if ranks.first:
                draw_curves(exp)  # a kill may have come between the model and the picture
                say(f"{exp}: trained already, {exp}/model is up to date")
            return 0
        keep_freed_memory()
        if not ranks.first:
            return STOPPED_BY_SIGNAL if fit() is None else 0
        say(announcement)
        work.begin()
        with timed("training"):
            outputs = fit()
        if outputs is None:
            return STOPPED_BY_SIGNAL
        work.finish(outputs)
        draw_curves(exp)
        say(f"  wrote {exp}/model; the course of the training is in {exp}/train.jsonl, training.png and tensorboard/")
        return 0
