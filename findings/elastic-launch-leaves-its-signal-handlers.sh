#!/usr/bin/env bash
# torch 2.13.0 (CPU): elastic_launch leaves its signal handlers behind.
#
# Guess: torch's elastic launcher, called as a function, handles SIGTERM and SIGINT while its ranks run and puts the
# handlers of the calling program back when it returns.
# What happens: after a launch that has ended well, SIGTERM, SIGINT, SIGHUP and SIGQUIT are still handled by the launcher, for the
# rest of the process: they raise torch's SignalException, which is no KeyboardInterrupt and which nothing of the caller
# expects.
# Why it matters: a program that trains in ranks and then goes on by itself (mining, evaluating) can no longer be stopped in the
# way it has set up, and Ctrl-C ends in a traceback.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'torch==2.13.0' 'numpy==2.4.6'
cat > "$folder/try.py" <<'PY'
import signal
import sys

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def mine(number, frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, mine)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=1, run_id="try", rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0",
        monitor_interval=0.1,
    )
    elastic_launch(config, sys.executable)("-c", "pass")
    print("torch", torch.__version__, "handler of SIGTERM afterwards:", signal.getsignal(signal.SIGTERM).__name__)
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        sys.exit("the caller's own handler was called: the behaviour has changed")
    except SignalException as error:
        print("SIGTERM after the launch raises", type(error).__name__)
PY
"$folder/venv/bin/python" "$folder/try.py"
