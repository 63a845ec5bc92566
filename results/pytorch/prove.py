#!/usr/bin/env python3
"""Proves on a GPU what no GPU has run yet, and puts the program's rates beside PyTorch's, in one run on one machine.

In this order: the self-test; compute-sanitizer over it, where that is found; `measure` at both efforts, with the time it takes; PyTorch's products,
copies and the best shape by brute force; ten more runs of the program, for the spread. What comes out is a table of targets on standard output
and one JSON file. A target that could not be looked at is "unknown", never met.

Needs torch with a GPU that it can use, and the binary. `--try` goes through everything with toy sizes on the processor, where the
program's half runs on whatever driver is found (the stand-in, in the tests).

    python3 results/pytorch/prove.py --output results/pytorch/MACHINE-proof.json
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROBES = ["memory", "dram", "cache", "matmul", "tensor", "copy", "peer", "collective", "launch", "bulk"]
REPEATED = ["dram", "matmul", "copy"]
# Shapes of the brute-force search: every combination of these edges, as a person would try them who knows no better.
EDGES = [1024, 2048, 3072, 4096, 6144, 8192, 10240, 12288, 16384]
SECONDS_OF_SEARCH = 120.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-assay", default=None, help="the binary [default: target/release/gpu-assay, else the one on PATH]")
    parser.add_argument("--runs", type=int, default=10, help="fresh runs for the spread [default: 10]")
    parser.add_argument("--output", help="JSON file to write [default: standard output after the table]")
    parser.add_argument("--try", dest="toy", action="store_true", help="toy sizes, PyTorch on the processor")
    given = parser.parse_args()
    beside = Path(__file__).resolve().parents[2] / "target/release/gpu-assay"
    given.gpu_assay = given.gpu_assay or (str(beside) if beside.is_file() else shutil.which("gpu-assay"))
    if not given.gpu_assay:
        parser.error("no gpu-assay found; build it with `cargo build --release` or name it with --gpu-assay")
    if given.runs < 2:
        parser.error("a spread needs at least two runs")
    return given


def run(command, **more):
    print("$", " ".join(Path(word).name if os.sep in word else word for word in command), file=sys.stderr, flush=True)
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    return {"code": done.returncode, "seconds": time.perf_counter() - began, "tail": (done.stdout + done.stderr)[-2000:]}


def sanitizer():
    found = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    return found if Path(found).is_file() else None


class Record:
    """Rates of a result file, in base units per second."""

    def __init__(self, path):
        self.outcomes = json.loads(Path(path).read_text())["outcomes"]

    def measured(self):
        return [one for one in self.outcomes if one["outcome"] == "measured"]

    def failures(self):
        return [one.get("case", "?") for one in self.outcomes if one["outcome"] == "failed"]

    def best(self, start, contains="", what="moved", conditions=""):
        """The fastest case of a mechanism, by its median; its rate, id and conditions."""
        found = []
        for one in self.measured():
            if one["case"].startswith(start) and contains in one["case"] and conditions in json.dumps(one["conditions"]):
                amount = one["work"][what]
                if amount > 0 and one["samples"]:
                    found.append((amount / statistics.median(one["samples"]), one["case"], one["conditions"]))
        return max(found, key=lambda one: one[0], default=(None, None, {}))

    def rates(self, start):
        """The rate of every case of a probe that computes, or why it was waived."""
        found = {}
        for one in self.outcomes:
            if one.get("case", "").startswith(start):
                sampled = one["outcome"] == "measured" and one["samples"]
                found[one["case"]] = one["work"]["compute"] / statistics.median(one["samples"]) if sampled else one.get("waiver", one.get("error"))
        return found


class Peer:
    """PyTorch's rates for the same work."""

    def __init__(self, torch, toy):
        self.torch, self.toy = torch, toy
        self.device = "cpu" if toy else "cuda"

    def median(self, work, seconds=2.0):
        """Median time of one call, sampled in batches of some milliseconds after a warm-up."""
        torch = self.torch
        if self.toy:
            work()
            began = time.perf_counter()
            work()
            return time.perf_counter() - began
        for _ in range(3):
            work()
        torch.cuda.synchronize()
        samples, began = [], time.perf_counter()
        while time.perf_counter() - began < seconds or len(samples) < 5:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(5):
                work()
            end.record()
            end.synchronize()
            samples.append(start.elapsed_time(end) / 5e3)
        return statistics.median(samples)

    def random(self, *shape):
        return (self.torch.rand(*shape, device=self.device) * 2 - 1).to(self.torch.bfloat16)

    def product(self, m, n, k, seconds=2.0):
        # Two sets at least, and more than the cache holds of small ones.
        count = max(2, int(256e6 / (2 * (m * k + n * k)))) if not self.toy else 1
        sets = [(self.random(m, k), self.random(n, k)) for _ in range(min(count, 64))]
        out = self.torch.empty(m, n, dtype=self.torch.bfloat16, device=self.device)
        turn = [0]

        def once():
            a, b = sets[turn[0] % len(sets)]
            turn[0] += 1
            self.torch.mm(a, b.t(), out=out)

        return 2 * m * n * k / self.median(once, seconds)

    def product_fp8(self, edge):
        torch = self.torch
        if self.toy:
            return None
        one = torch.ones((), device=self.device)
        a, b = (self.random(edge, edge).to(torch.float8_e4m3fn) for _ in range(2))
        return 2 * edge**3 / self.median(lambda: torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16, use_fast_accum=True))

    def copy(self, size):
        source = self.torch.randint(0, 255, (size,), dtype=self.torch.uint8, device=self.device)
        target = self.torch.empty_like(source)
        return 2 * size / self.median(lambda: target.copy_(source))

    def transfer(self, size, to_device):
        torch = self.torch
        host = torch.empty(size, dtype=torch.uint8, pin_memory=not self.toy)
        device = torch.empty(size, dtype=torch.uint8, device=self.device)
        pair = (device, host) if to_device else (host, device)
        return size / self.median(lambda: pair[0].copy_(pair[1], non_blocking=True))

    def best_shape(self):
        """By brute force: rate, shape, seconds."""
        edges = [64, 128] if self.toy else EDGES
        began, best, tried = time.perf_counter(), (0.0, None), 0
        for m in edges:
            for n in edges:
                for k in edges:
                    if time.perf_counter() - began < SECONDS_OF_SEARCH:
                        best = max(best, (self.product(m, n, k, 0.1), f"{m}x{n}x{k}"))
                        tried += 1
        return {"rate": best[0], "shape": best[1], "tried": tried, "of": len(edges) ** 3, "seconds": time.perf_counter() - began}


def variation(values):
    values = [value for value in values if value]
    return statistics.stdev(values) / statistics.fmean(values) if len(values) > 1 else None


def main():
    given = arguments()
    import torch

    if not given.toy and not torch.cuda.is_available():
        sys.exit("prove.py: torch sees no GPU; go through it with --try")
    peer, binary = Peer(torch, given.toy), given.gpu_assay
    edge, size = (128, 1 << 20) if given.toy else (8192, 1 << 30)
    targets, facts = [], {}

    def target(name, ours, limit, at_least=True, beside=None):
        met = None if ours is None or limit is None else (ours >= limit if at_least else ours <= limit)
        targets.append({"target": name, "found": ours, "limit": limit, "sense": ">=" if at_least else "<=", "beside": beside, "met": met})

    def ratio(ours, theirs):
        return ours / theirs if ours and theirs else None

    def against(ours, theirs):
        """As a ratio, unless they did not do the same work on the same device."""
        return None if given.toy else ratio(ours, theirs)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts["selftest"] = run([binary, "--no-progress", "selftest"])
        target("self-test right (exit code)", facts["selftest"]["code"], 0, False)
        tool = sanitizer()
        for kind in ["memcheck", "racecheck"]:
            done = run([tool, "--tool", kind, "--error-exitcode", "9", "--target-processes", "all", binary, "--no-progress", "selftest"]) if tool else None
            facts[kind] = done
            target(f"compute-sanitizer {kind} clean (exit code)", done["code"] if done else None, 0, False)

        def measure(effort, probes, path, *more):
            return run([binary, "--no-progress", "measure", *probes, "--effort", effort, "-o", str(path), *more])

        short = ["--time", "300 ms"] if given.toy else []
        for effort, limit in [("quick", 20.0), ("standard", 90.0)]:
            facts[effort] = measure(effort, [] if not given.toy else REPEATED, folder / f"{effort}.json", *short)
            target(f"measure --effort {effort}, seconds", facts[effort]["seconds"], limit, False)
        facts["all"] = measure("standard", PROBES, folder / "all.json", *short)
        record = Record(folder / "all.json")
        target("cases that failed", len(record.failures()), 0, False)
        facts["failed"] = record.failures()

        square = "" if given.toy else "m=8192,n=8192,k=8192"
        library, own = (record.best("matmul.bf16/engine=" + engine, square, "compute") for engine in ["cublaslt", "own"])
        library8, own8 = (record.best("matmul.e4m3/engine=" + engine, square, "compute") for engine in ["cublaslt", "own"])
        theirs, theirs8 = peer.product(edge, edge, edge), peer.product_fp8(edge)
        facts["own"] = {"bf16": own[2].get("algorithm"), "fp8": own8[2].get("algorithm"), "refused": own[2].get("refused")}
        target("own BF16 8192³ of the best cublasLt algorithm", ratio(own[0], library[0]), 0.95)
        target("own FP8 8192³ of the best cublasLt algorithm", ratio(own8[0], library8[0]), 0.90)
        best = max((one[0] for one in (library, own) if one[0]), default=None)
        target("best engine BF16 8192³ of PyTorch's", against(best, theirs), 1.0, beside=theirs)
        best8 = max((one[0] for one in (library8, own8) if one[0]), default=None)
        target("best engine FP8 8192³ of PyTorch's", against(best8, theirs8), 1.0, beside=theirs8)
        # No product can be faster than the instruction that it is made of.
        facts["instructions"] = record.rates("tensor.")
        target("wgmma alone in BF16 of the best product (Hopper)", ratio(record.best("tensor.bf16/engine=wgmma", what="compute")[0], best), 1.0)
        shape, forced = record.best("matmul.bf16/engine=cublaslt", "shape=best", "compute"), peer.best_shape()
        facts["best shape"] = {"ours": shape[2], "brute force": forced}
        target("best shape of brute force's", against(shape[0], forced["rate"]), 0.99, beside=forced["rate"])

        copied = peer.copy(size)
        moved = {kind: max((one for one in (record.best(f"dram.{kind}")[0], record.best(f"bulk.{kind}")[0]) if one), default=None)
                 for kind in ["read", "write", "copy", "triad"]}
        facts["dram"] = moved
        # Of the GPU that torch sees; 4.8 TB/s is the H200's, and says nothing of another.
        is_h200 = not given.toy and "H200" in torch.cuda.get_device_name(0)
        for kind, share in [("read", 0.92), ("copy", 0.90), ("triad", 0.90)]:
            target(f"DRAM {kind} of 4.8 TB/s (H200)", ratio(moved[kind], 4.8e12) if is_h200 else None, share)
        target("DRAM copy of PyTorch's copy_", against(moved["copy"], copied), 1.0, beside=copied)
        for way, to_device in [("h2d", True), ("d2h", False)]:
            ours, transferred = record.best(f"copy.{way}", "memory=pinned")[0], peer.transfer(size, to_device)
            difference = against(ours, transferred)
            target(f"{way} against PyTorch's pinned copy, difference", abs(difference - 1) if difference else None, 0.02, False, transferred)

        runs = []
        for number in range(given.runs):
            path = folder / f"run{number}.json"
            measure("quick", REPEATED, path, *short)
            if path.is_file():
                runs.append(Record(path))
        for label, start, what, limit in [("DRAM copy", "dram.copy", "moved", 0.005), ("DRAM triad", "dram.triad", "moved", 0.005),
                                          ("H2D", "copy.h2d", "moved", 0.005), ("BF16, cublasLt", "matmul.bf16/engine=cublaslt", "compute", 0.01),
                                          ("BF16, own", "matmul.bf16/engine=own", "compute", 0.01)]:
            rates = [one.best(start, "memory=pinned" if start.startswith("copy") else "", what)[0] for one in runs]
            target(f"spread of {label} over {len(runs)} runs", variation(rates), limit, False)

    document = {
        "schema_version": 1,
        "program": subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        "device": "cpu" if given.toy else torch.cuda.get_device_name(0),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "toy": given.toy,
        "targets": targets,
        "facts": facts,
    }
    words = {True: "met", False: "MISSED", None: "unknown"}
    for one in targets:
        found = "–" if one["found"] is None else format(one["found"], ".4g")
        print(f"{words[one['met']]:8} {one['target']}: {found} (target {one['sense']} {one['limit']:g})")
    text = json.dumps(document, indent=1) + "\n"
    if given.output:
        temporary = Path(given.output + ".part")
        temporary.write_text(text)
        os.replace(temporary, given.output)
    else:
        print(text, end="")
    sys.exit(0 if all(one["met"] for one in targets) else 1)


if __name__ == "__main__":
    main()
