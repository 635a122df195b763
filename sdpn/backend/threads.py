"""Work in blocks, each computed by one thread, so that results do not depend on the number of threads."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_info, threadpool_limits

Each = Callable[[Callable, Iterable], Iterable]  # `map`, or another that does the same


@contextmanager
def in_threads() -> Iterator[Each]:
    """Give a `map` that works on as many blocks at once as BLAS may use threads, while BLAS itself uses one.

    BLAS with several threads divides a product by their number, and its last bits with it. numpy and kernels with
    `nogil` let other threads run meanwhile.

    Example:
        with in_threads() as each:
            norms = list(each(np.linalg.norm, blocks))
    """
    allowed = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(max(allowed, default=1)) as pool:
        yield pool.map
