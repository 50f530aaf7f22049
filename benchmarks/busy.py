"""Training steps and encoding beside busy processes, as on a machine that others use.

    python benchmarks/busy.py [--before FOLDER] [--beside 0 1 4] [--seconds 12] [--repeats 3] [--model FOLDER]

Each measurement is a process of its own that encodes 128 texts of 64 tokens, and passes 16 of them forth and back, for
some seconds each, with the environment that the command line gives itself. Versions take turns; without ``--before``
the other one is torch's own way of waiting.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="an older checkout, to compare with")
    parser.add_argument("--beside", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="")
    parser.add_argument("--one", action="store_true", help="measure in this process, and print seconds alone")
    parser.add_argument("--plain", action="store_true", help="with torch's own way of waiting")
    given = parser.parse_args()
    if given.one:
        print(*measured(given.seconds, given.model, given.plain))
        return
    from common import machine

    here = Path(__file__).parents[1]
    versions = {"now": (here, []), "before": (Path(given.before), []) if given.before else (here, ["--plain"])}
    print(machine())
    for beside in given.beside:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in versions}
        busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(beside)]
        try:
            for _ in range(given.repeats):
                for name, (place, flags) in versions.items():
                    command = [sys.executable, __file__, "--one", f"--seconds={given.seconds}", *flags]
                    command += ["--model", given.model] if given.model else []
                    environment = {**os.environ, "PYTHONPATH": str(place.resolve() / "src")}
                    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                    encoding, step = map(float, done.stdout.split()[-2:])
                    found[name].append((encoding, step))
        finally:
            for process in busy:
                process.kill()
        for number, what in enumerate(("encoding", "a training step")):
            now, before = ([pair[number] for pair in found[name]] for name in ("now", "before"))
            ratios = [old / new for old, new in zip(before, now, strict=True)]
            faster = f"{statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})"
            medians = f"{statistics.median(now):.3f} s, before {statistics.median(before):.3f} s"
            print(f"beside {beside} busy: {what} {medians}: {faster}", flush=True)


def measured(seconds: float, model_folder: str, plain: bool) -> tuple[float, float]:
    """Return the median seconds of an encoding and of a training step."""
    if not plain:
        with suppress(ImportError):  # an older version
            from ance_tele.console.waiting import wait_well

            wait_well()
    import numpy as np
    import torch

    from ance_tele.data.demo import demo_model
    from ance_tele.data.load import cache_folder
    from ance_tele.data.tokens import TokenStore
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.encode.encoder import Forward
    from ance_tele.encode.inference import encode_texts
    from ance_tele.encode.kernels import Kernels
    from ance_tele.encode.loading import load_model

    config = EncoderConfig(precision="float32")
    model = load_model(model_folder or demo_model(cache_folder()), config, "cpu")
    rng, times = np.random.default_rng(0), []
    store = TokenStore.from_lists([rng.integers(1000, 20000, 64).tolist() for _ in range(128)])
    rows, forward = np.arange(128), Forward(model, "document")
    ids, mask = (torch.from_numpy(each[:16]) for each in store.padded(rows))

    def encode() -> None:
        encode_texts(model, store, rows, "document", config)

    def step() -> None:
        model.train()
        forward(ids, mask, [64] * 16, Kernels(ids)).sum().backward()
        model.zero_grad()

    for run in (encode, step):
        run()
        spent, end = list[float](), time.perf_counter() + seconds
        while time.perf_counter() < end or len(spent) < 3:
            start = time.perf_counter()
            run()
            spent.append(time.perf_counter() - start)
        times.append(statistics.median(spent))
    return times[0], times[1]


if __name__ == "__main__":
    main()
