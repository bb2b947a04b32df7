#!/usr/bin/env bash
# What surprises: a model that OpenVINO 2026.4.1 compiles for the CPU with INFERENCE_NUM_THREADS=1 computes in a thread that
# is bound to one core, and every process binds its own to the same one (the first that it may use). Workers that were given
# a thread each, so that they share a machine, share a core instead: on two cores, an image encoder took 1.4 s in one process
# and 2.8 s in each of two. ENABLE_CPU_PINNING=False leaves the thread to the system. Seen on Linux; needs two cores.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q openvino==2026.4.1 numpy==2.4.6
cat > bound.py <<'PY'
"""Prints where the threads of a process may run that OpenVINO left bound to fewer cores than the process."""
import sys
import threading
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops

size = 512
given = ops.parameter([size, size], np.float32)
result = given
for _ in range(40):
    result = ops.relu(ops.matmul(result, ops.constant(np.eye(size, dtype=np.float32)), False, False))
options = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
if sys.argv[1] == "free":
    options["ENABLE_CPU_PINNING"] = False
compiled = openvino.Core().compile_model(openvino.Model([result], [given]), "CPU", options)
seen = set()


def watch() -> None:
    while not done.wait(0.01):
        for status in Path("/proc/self/task").glob("*/status"):
            allowed = next(row for row in status.read_text().splitlines() if row.startswith("Cpus_allowed_list"))
            seen.add(allowed.split()[1])


done = threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
for _ in range(20):
    compiled.create_infer_request().infer([np.ones((size, size), np.float32)])
done.set()
watcher.join()
print(*sorted(cores for cores in seen if cores.isdigit()), sep=",")
PY
both() { venv/bin/python bound.py "$1" > a & venv/bin/python bound.py "$1" > b; wait; echo "$1: one process bound to core '$(cat a)', the other to '$(cat b)'"; }
both default
test "$(cat a)" = "$(cat b)" && test -n "$(cat a)"
both free
test -z "$(cat a)$(cat b)"
