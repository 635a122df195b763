"""A training on one device or on several, as a step's command line and its launcher ask."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from sdpn.training.ranks import Ranks


def on_devices(ngpu: int, act: "Callable[[torch.device, Ranks], int]") -> int:
    """Call `act` with the device and the ranks of this process; start the processes of several GPUs where none has.

    Returns:
        The exit status of the step.
    """
    from sdpn.training.devices import choose_device
    from sdpn.training.ranks import CommonError, joined, place_from_environment

    place = place_from_environment()
    device = choose_device(ngpu, place.local if place else None)
    if ngpu > 1 and place is None:
        from sdpn.cluster.launch import launch

        return launch([sys.executable, *sys.argv], ngpu)
    with joined(place, device) as ranks:
        try:
            return act(device, ranks)
        except CommonError:  # one of them says it for all
            if ranks.first:
                raise
            return 1
