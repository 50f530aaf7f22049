"""How the threads of a product wait for each other, on a machine that others use too."""

import os
import sys

# Rounds that a thread spins before it sleeps. OpenMP of GCC, which torch brings on Linux, spins for milliseconds by
# default: longer than a thread waits on an idle machine, and all that time a busy one could have worked.
SPINS = "10000"

CHOSEN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def spin_briefly() -> None:
    """Have threads that wait sleep soon: to be called before torch is loaded; processes that are started inherit it.

    What the environment says already stays.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in CHOSEN):
        os.environ["GOMP_SPINCOUNT"] = SPINS
