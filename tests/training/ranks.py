"""Runs a function in several processes that train together, on the CPU through gloo."""

import multiprocessing
import socket
from collections.abc import Callable
from typing import Any

import torch

from sdpn.training.ranks import Place, Ranks, joined


def in_ranks(count: int, function: Callable[[Ranks], Any]) -> list[Any]:
    """What `function` returns in each of `count` forked processes, in the order of their ranks."""
    if count == 1:
        return [function(Ranks())]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(i, count, port, function, results)) for i in range(count)]
    for worker in workers:
        worker.start()
    found = dict(results.get() for _ in workers)
    for worker in workers:
        worker.join()
    for outcome in found.values():
        if isinstance(outcome, Exception):
            raise outcome
    return [found[i] for i in range(count)]


def _work(number: int, count: int, port: int, function: Callable, results: Any) -> None:
    torch.set_num_threads(1)
    try:
        with joined(Place(number, count, number, "127.0.0.1", port), torch.device("cpu")) as ranks:
            outcome = function(ranks)
    except Exception as error:
        outcome = error
    results.put((number, outcome))
