"""What computes: the CPU's cores or a GPU, and how memory is kept for the next step."""

import ctypes
import os

import torch

from sdpn.errors import SdpnError


def choose_device(ngpu: int, local: int | None = None) -> torch.device:
    """The CPU, or a GPU of this machine.

    Args:
        ngpu: how many GPUs are asked for; 0: the CPU.
        local: number of this process on its machine, where several train together; each takes a GPU of its own of
            those it can see (Slurm may show each process one). None: the first GPU.

    Raises:
        SdpnError: there is no GPU, or there are fewer than asked for.
    """
    if ngpu == 0:
        return torch.device("cpu")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found == 0:
        raise SdpnError(f"--ngpu is {ngpu} but torch finds no GPU here: use --ngpu 0, or install a CUDA build of torch")
    if local is None:
        if found < ngpu:
            raise SdpnError(f"--ngpu is {ngpu} but torch finds only {found} here: use --ngpu {found}")
        return torch.device("cuda", 0)
    device = torch.device("cuda", local % found)
    torch.cuda.set_device(device)
    return device


def computing_with(device: torch.device, count: int = 1) -> str:
    """What computes, in words; `count` processes of it."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{torch.get_num_threads()} threads on {os.cpu_count()} CPU cores"
    return name if count == 1 else f"{count} processes, each with {name}"


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed memory for the next allocation in place of handing it back to the kernel.

    Each step frees and asks for the same large tensors; by default each is mapped afresh and every page of it faults
    once more. Measured on a 64-channel ECAPA-TDNN, batch 128 x 200 frames: 0.68 s forward and backward by default,
    0.48 s so. Does nothing where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
