"""Measures the server: many clients at once, every answer held against the command line's, its memory, a full queue.

    python benchmarks/serve.py [--seconds 60] [--clients 8] [--fresh 20] [--engine torch] [--out FILE]

The scan is the abdominal MRI that comes with pydicom; further images are pieces of it. The server is a process of its
own with the embedded model; clients are threads of this one, so that both share the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx2 as httpx
import numpy as np
from PIL import Image
from pydicom import examples
from setting import machine, versions

import medclipsam
from medclipsam.config import EngineKind
from medclipsam.runs.one_scan import ScanRequest, segment_scan

PROMPTS = ("liver", "spleen", "kidneys", "breast tumor")
BURST = 24
"""Number of requests at once that a queue of 8 does not hold."""


@contextmanager
def server(folder: Path, engine: EngineKind) -> Iterator[tuple[httpx.Client, int]]:
    """A warm server, as (client, process id)."""
    words = [sys.executable, "-m", "medclipsam", "serve", "--port", "0", "--json", "--folder", str(folder)]
    words += ["--encoder-engine", engine]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        headers = {"Authorization": f"Bearer {told['token']}"}
        with httpx.Client(base_url=told["url"], headers=headers, timeout=300, trust_env=False) as client:
            client.get("/v1/version")
            yield client, process.pid
        process.send_signal(signal.SIGINT)


def expected(scans: list[Path], folder: Path, engine: EngineKind) -> dict[tuple[str, str], dict[str, bytes]]:
    """The masks of the command line, by scan and prompt."""
    segmenter = medclipsam.load("embedded", encoder_engine=engine)
    found = {}
    for scan in scans:
        for prompt in PROMPTS:
            out = folder / f"{scan.stem}-{prompt}"
            request = ScanRequest(scan=scan, prompts=(prompt,), folder=out, formats=("png",), save_stages=True)
            segment_scan(request, lambda: segmenter, lambda *_: None)
            found[scan.name, prompt] = {path.name: path.read_bytes() for path in out.glob("*.png")}
    return found


def pieces(scan: Path, folder: Path, count: int, seed: int) -> list[Path]:
    """Images that are parts of a scan, moved and mirrored, so that none was seen before."""
    pixels = medclipsam.read_image(scan).pixels[..., 0]
    generator = np.random.default_rng(seed)
    made = []
    for number in range(count):
        rows, columns = generator.integers(0, 40, 2)
        piece = pixels[rows : rows + 256, columns : columns + 384][:, :: generator.choice([1, -1])]
        path = folder / f"piece-{seed}-{number}.png"
        Image.fromarray((piece * 255).round().astype(np.uint8)).save(path)
        made.append(path)
    return made


def ask(client: httpx.Client, scan: Path, prompt: str, **more: Any) -> tuple[float, httpx.Response]:
    """(seconds, answer)."""
    body = {"path": scan.name, "prompts": [prompt], "formats": ["png"], **more}
    began = time.perf_counter()
    answer = client.post("/v1/segment", json=body)
    return time.perf_counter() - began, answer


def equal(client: httpx.Client, answer: dict[str, Any], files: dict[str, bytes]) -> bool:
    """Whether the pictures of an answer are those of the command line."""
    got = {file["name"]: client.get(file["url"]).content for file in answer["files"] if file["name"].endswith(".png")}
    return got == files


def crowd(
    client: httpx.Client, process: int, scans: list[Path], right: dict[tuple[str, str], dict[str, bytes]], args: Any
) -> dict[str, Any]:
    """Many clients for a while; what came of it."""
    until = time.monotonic() + args.seconds
    times: list[float] = []
    outcomes: Counter[str] = Counter()
    memory: list[float] = []

    def work(number: int) -> None:
        generator = np.random.default_rng(number)
        while time.monotonic() < until:
            scan, prompt = scans[generator.integers(len(scans))], PROMPTS[generator.integers(len(PROMPTS))]
            seconds, answer = ask(client, scan, prompt, save_stages=True)
            if answer.status_code != 200:
                outcomes[str(answer.status_code)] += 1
                time.sleep(0.2)
                continue
            times.append(seconds)
            told = answer.json()
            outcomes["equal" if equal(client, told, right[scan.name, prompt]) else "other"] += 1
            client.delete(f"/v1/results/{told['id']}")

    with ThreadPoolExecutor(args.clients) as pool:
        for number in range(args.clients):
            pool.submit(work, number)
        while time.monotonic() < until:
            memory.append(resident_mb(process))
            time.sleep(1)
    third = max(1, len(memory) // 3)
    return {
        "answers": len(times),
        "outcomes": dict(outcomes),
        "p50": float(np.percentile(times, 50)),
        "p95": float(np.percentile(times, 95)),
        "memory": (median(memory[third : 2 * third]), median(memory[-third:])),
    }


def burst(client: httpx.Client, scans: list[Path]) -> dict[str, Any]:
    """More at once than the queue holds."""
    with ThreadPoolExecutor(BURST) as pool:
        answers = list(pool.map(lambda number: ask(client, scans[number % len(scans)], "liver")[1], range(BURST)))
    refused = [answer for answer in answers if answer.status_code == 503]
    return {
        "outcomes": dict(Counter(answer.status_code for answer in answers)),
        "retry_after": sorted({int(answer.headers["Retry-After"]) for answer in refused}),
    }


def warm(client: httpx.Client, scans: list[Path], **more: Any) -> tuple[float, float, float]:
    """Medians over new images: (seconds of the answer, of the model in it, their ratio)."""
    rows = []
    for scan in scans:
        seconds, answer = ask(client, scan, "liver", **more)
        (image,) = answer.json()["report"]["images"]
        model = sum(image["results"][0]["seconds"].values())
        rows.append((seconds, model, seconds / model))
    whole, model, ratio = zip(*rows, strict=True)
    return median(whole), median(model), median(ratio)


def resident_mb(process: int) -> float:
    """Memory that a process holds (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def table(found: dict[str, Any], args: argparse.Namespace) -> str:
    """Markdown."""
    crowded, full = found["crowd"], found["burst"]
    before, after = crowded["memory"]
    refused, answered = full["outcomes"].get(503, 0), full["outcomes"].get(200, 0)
    rows = [
        (f"{args.clients} clients at once for {args.seconds} s: answers", f"{crowded['answers']:,}"),
        ("of them equal to the command line's, file by file", f"{crowded['outcomes'].get('equal', 0):,}"),
        ("other answers, errors", str({k: v for k, v in crowded["outcomes"].items() if k != "equal"} or "none")),
        ("time of an answer, p50 and p95", f"{crowded['p50']:.2f} s, {crowded['p95']:.2f} s"),
        ("memory in the middle and at the end", f"{before:,.0f} MB, {after:,.0f} MB"),
        (f"{BURST} requests at once, queue of 8", f"{answered} answered, {refused} told to come again (503)"),
        *(
            (f"new image, one client, {name}", f"{whole:.2f} s, {ratio:.2f} times the model's own {model:.2f} s")
            for name, (whole, model, ratio) in found["warm"].items()
        ),
        ("further prompt on a known image, mask only", f"{found['known']:.2f} s"),
    ]
    lines = "\n".join(f"| {name} | {value} |" for name, value in rows)
    told = (
        f"{machine()}, {os.cpu_count()} cores shared by server and clients; {versions('torch', 'fastapi', 'uvicorn')}"
    )
    load = f"load average of the machine at the end {os.getloadavg()[0]:.1f}"
    asked = f"Pieces of an abdominal MRI, preset embedded, engine {args.engine}"
    return f"| what | measured |\n|---|---|\n{lines}\n\n{asked}. {told}; {load}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--fresh", type=int, default=20, help="New images that a warm server is asked about.")
    parser.add_argument("--engine", choices=["torch", "openvino", "onnx"], default="torch")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serve.md"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        scan = Path(str(examples.get_path("overlay")))
        known, fresh = pieces(scan, folder, 4, 0), {seed: pieces(scan, folder, args.fresh, seed) for seed in (1, 2)}
        right = expected(known, folder / "expected", args.engine)
        with server(folder, args.engine) as (client, process):
            light = {"overlays": False}
            found = {
                "warm": {"mask and overlay": warm(client, fresh[1]), "mask only": warm(client, fresh[2], **light)},
                "known": median(ask(client, fresh[2][-1], prompt, **light)[0] for prompt in PROMPTS),
                "crowd": crowd(client, process, known, right, args),
                "burst": burst(client, known),
            }
    print(found)
    args.out.write_text(table(found, args))


if __name__ == "__main__":
    main()
