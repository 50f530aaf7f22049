"""When a process looks for garbage: neither among the libraries that it imports, nor as it ends.

The libraries that load models make a million objects, which stay. The collector would look through them again and again
while they come, now and then later, and once more when the process ends, whose memory goes back to the system anyway.
"""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Pause the garbage collector while the block imports; after torch, it passes over what there is by then.

    For the command's own processes: what is garbage by then stays too.

    Example:
        >>> with importing():
        ...     import decimal
        >>> gc.isenabled()
        True
    """
    enabled, known = gc.isenabled(), "torch" in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if not known and "torch" in sys.modules:
            gc.freeze()
        if enabled:
            gc.enable()


def skip_last_collection() -> None:
    """Have this process end without a last search for garbage; what is registered to be done at its end still is."""
    atexit.register(gc.freeze)
