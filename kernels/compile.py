#!/usr/bin/env python3
"""Compiles the kernels for every supported chip with NVRTC. Needs no GPU, no driver and no CUDA toolkit.

    python3 -m venv .venv && .venv/bin/pip install -r kernels/requirements.txt
    .venv/bin/python kernels/compile.py build      writes kernels/prebuilt/ and kernels/manifest.json
    .venv/bin/python kernels/compile.py check      recompiles, compares byte for byte with what was packed, checks the machine code

What is written is a pure function of the sources and the compiler version: no path, time or debug information goes into it.

A cubin runs on its own chip (and, without the letter `a` in its target, on later ones of the same generation). PTX is what a chip gets
that no cubin fits: the driver translates it. Kernels that a target cannot have (BF16 tensor cores before sm_80, FP8 ones before sm_89,
wgmma on any but sm_90a) are left out there, and the manifest lists only what exists.
"""

import argparse
import ctypes
import hashlib
import json
import os
import re
import sys
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left beside the sources
import sass

HERE = Path(__file__).resolve().parent
SIMPLE = ["cache", "chase", "check", "empty", "fill", "fma", "gate", "stream"]
BF16 = SIMPLE + ["gemm_bf16", "tensor"]
FP8 = BF16 + ["gemm_fp8"]
HOPPER = FP8 + ["gemm_hopper_bf16", "gemm_hopper_fp8", "tensor_hopper"]
# Chips whose mma.sync has FP8. No PTX: on others the driver would convert, and what is measured would be another rate.
FP8_SYNC = FP8 + ["tensor_fp8"]
BULK = ["bulk"]  # bulk copies: where memory is HBM

# Which files each target gets. `sm_*` gives a cubin, `compute_*` gives PTX.
TARGETS = {
    "sm_75": SIMPLE,
    "sm_80": BF16,
    "sm_86": BF16,
    "sm_89": FP8_SYNC,
    "sm_90a": HOPPER + BULK,
    "sm_100a": FP8 + BULK,
    "sm_103a": FP8 + BULK,
    "sm_120a": FP8_SYNC,
    "compute_75": SIMPLE,
    "compute_80": ["gemm_bf16", "tensor"],
    "compute_89": ["gemm_fp8"],
}
# What the compiler says when it has undone what a kernel is for: wgmma one after the other, registers that stay where they were.
UNDONE = re.compile(r".*(?:C7510|wgmma.*serializ|setmaxnreg.*ignored).*", re.I)
PACKED = ".z"  # images lie packed by zlib, as they are in the program, too
OPTIONS = ["--std=c++17", "--fmad=true", "--prec-sqrt=true", "--prec-div=true", "--ftz=false"]


class Failure(Exception):
    """Something that the person at the terminal has to know; shown without a stack trace."""


class Nvrtc:
    """The few calls of NVRTC that are needed, over ctypes."""

    def __init__(self, path=None):
        self.lib = ctypes.CDLL(str(path or self.find()))
        self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    @staticmethod
    def find():
        for folder in sys.path:
            for path in sorted(Path(folder).glob("nvidia/cuda_nvrtc/lib/libnvrtc.so.*")):
                return path
        raise Failure("libnvrtc not found: install it with `pip install -r kernels/requirements.txt`, or give --nvrtc FILE")

    def call(self, name, *arguments):
        code = getattr(self.lib, name)(*arguments)
        if code != 0:
            raise Failure(f"{name}: {self.lib.nvrtcGetErrorString(code).decode()}")

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def compile(self, name, source, headers, target):
        """Returns (image, log): a cubin for sm_*, PTX text for compute_*."""
        program = ctypes.c_void_p()
        names = (ctypes.c_char_p * len(headers))(*[h.encode() for h in headers])
        texts = (ctypes.c_char_p * len(headers))(*[t.encode() for t in headers.values()])
        self.call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), len(headers), texts, names)
        try:
            options = [f"--gpu-architecture={target}", *OPTIONS, "--ptxas-options=-v"]
            array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
            code = self.lib.nvrtcCompileProgram(program, len(options), array)
            log = self.text(program, "ProgramLog").rstrip(b"\0").decode()
            if code != 0:
                raise Failure(f"{name} for {target}: {self.lib.nvrtcGetErrorString(code).decode()}\n{log}")
            if undone := UNDONE.search(log):
                raise Failure(f"{name} for {target}: {undone.group(0).strip()}")
            if target.startswith("sm_"):
                return self.text(program, "CUBIN"), log
            return self.text(program, "PTX").rstrip(b"\0"), log
        finally:
            self.lib.nvrtcDestroyProgram(ctypes.byref(program))


def headers_of(text, found=None):
    """Name and text of every header that a source includes, directly or not, in order of name."""
    found = {} if found is None else found
    for name in re.findall(r'^\s*#include "([^"]+)"', text, re.M):
        path = HERE / name
        if name not in found and path.exists():  # host_shim.h belongs to the host compilation and is not here
            found[name] = path.read_text()
            headers_of(found[name], found)
    return dict(sorted(found.items()))


def source_hash(name, text, headers):
    """SHA-256 over name, length and text of the source and of every header: what the Rust test computes too."""
    digest = hashlib.sha256()
    for part, body in [(name, text), *headers.items()]:
        data = body.encode()
        digest.update(f"{part}\n{len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def parameters(text):
    """{kernel: [argument types]} from the `KERNEL name(...)` declarations."""
    kernels = {}
    for name, inside in re.findall(r"^KERNEL (\w+)\(([^)]*)\)", text, re.M):
        arguments = [" ".join(a.split()) for a in inside.split(",") if a.strip()]
        kernels[name] = [re.sub(r"\s*\w+$", "", a) for a in arguments]
    return kernels


def launch_of(text, headers):
    """{key: number} of the `// launch:` line of a source or of its headers, or None."""
    for body in [text, *headers.values()]:
        if line := re.search(r"launch: ((?:\w+=\d+ ?)+)", body):
            return {k: int(v) for k, v in (pair.split("=") for pair in line.group(1).split())}
    return None


def resources(log):
    """{kernel: registers, spill bytes, stack bytes, shared bytes} as ptxas reports them."""
    found = {}
    name = None
    for line in log.splitlines():
        if entry := re.search(r"Compiling entry function '(\w+)'", line):
            name = entry.group(1)
            found[name] = {}
        elif stack := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            frame, stores, loads = map(int, stack.groups())
            if name:
                found[name].update(stack_bytes=frame, spill_store_bytes=stores, spill_load_bytes=loads)
        elif used := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            found[name].update(registers=int(used.group(1)), static_shared_bytes=int(shared.group(1)) if shared else 0)
    return found


def compile_all(nvrtc):
    """Returns (files, manifest): {relative path: bytes} and the description of all of them."""
    files = {}
    sources = {}
    images = []
    names = sorted({name for list_ in TARGETS.values() for name in list_})
    for name in names:
        text = (HERE / f"{name}.cu").read_text()
        headers = headers_of(text)
        sources[name] = (text, headers)
    jobs = [(target, name) for target, list_ in TARGETS.items() for name in list_]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda job: nvrtc.compile(f"{job[1]}.cu", *sources[job[1]], job[0]), jobs))
        for (target, name), (image, log) in zip(jobs, results):
            text = sources[name][0]
            path = f"{target}/{name}.{'cubin' if target.startswith('sm_') else 'ptx'}"
            files[path] = image
            entry = {"target": target, "file": name, "path": path, "bytes": len(image), "sha256": hashlib.sha256(image).hexdigest()}
            if target.startswith("sm_"):
                entry["kernels"] = dict(sorted(resources(log).items()))
                if set(entry["kernels"]) != set(parameters(text)):
                    raise Failure(f"{path}: expected kernels {sorted(parameters(text))} but the compiler reports {sorted(entry['kernels'])}")
            images.append(entry)
    manifest = {
        "compiler": f"NVRTC {nvrtc.version} (nvidia-cuda-nvrtc-cu12 {pinned('nvidia-cuda-nvrtc-cu12')})",
        "options": OPTIONS,
        "sources": {
            name: {
                "sha256": source_hash(f"{name}.cu", text, headers),
                "headers": list(headers),
                "launch": launch_of(text, headers),
                "kernels": parameters(text),
                "targets": [t for t, list_ in TARGETS.items() if name in list_],
            }
            for name, (text, headers) in sources.items()
        },
        "images": images,
    }
    return files, manifest


def pinned(package):
    """The version of a package that requirements.txt asks for."""
    for line in (HERE / "requirements.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        if name == package:
            return version
    raise Failure(f"{package} is not in requirements.txt")


def manifest_text(manifest):
    return json.dumps(manifest, indent=1) + "\n"


def build(nvrtc):
    files, manifest = compile_all(nvrtc)
    folder = HERE / "prebuilt"
    for old in sorted(folder.glob("*/*")):
        old.unlink()
    for path, image in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{path}{PACKED}").write_bytes(zlib.compress(image, 9))
    for empty in [d for d in folder.iterdir() if not any(d.iterdir())]:
        empty.rmdir()
    (HERE / "manifest.json").write_text(manifest_text(manifest))
    packed = sum(path.stat().st_size for path in folder.glob("*/*"))
    print(f"{len(files)} images, {sum(map(len, files.values()))} bytes, {packed} packed")
    return files, manifest


def unpacked(path):
    """What a file holds, or nothing where it is damaged. How it was packed does not matter: versions of zlib differ in that."""
    try:
        return zlib.decompress(path.read_bytes())
    except zlib.error:
        return b""


def compare(files, manifest):
    """What differs between a fresh build and what is on disk."""
    folder = HERE / "prebuilt"
    found = {str(p.relative_to(folder)) for p in folder.glob("*/*")}
    present = {p.removesuffix(PACKED) for p in found if p.endswith(PACKED)}
    wrong = [f"{p}: not packed" for p in sorted(found) if not p.endswith(PACKED)]
    wrong += [f"{p}: not made from the sources, remove it" for p in sorted(present - set(files))]
    wrong += [f"{p}: missing" for p in sorted(set(files) - present)]
    wrong += [f"{p}: differs from a fresh build" for p in sorted(present & set(files)) if unpacked(folder / f"{p}{PACKED}") != files[p]]
    try:
        on_disk = (HERE / "manifest.json").read_text()
    except FileNotFoundError:
        on_disk = ""
    if on_disk != manifest_text(manifest):
        wrong.append("manifest.json: differs from a fresh build")
    return [f"{w} (run `kernels/compile.py build`)" for w in wrong]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", choices=["build", "check"])
    parser.add_argument("--nvrtc", help="libnvrtc.so to use instead of the installed package's")
    parser.add_argument("--nvdisasm", help="nvdisasm to use instead of the installed package's")
    arguments = parser.parse_args()
    try:
        nvrtc = Nvrtc(arguments.nvrtc)
        if arguments.mode == "build":
            files, manifest = build(nvrtc)
            wrong = []
        else:
            files, manifest = compile_all(nvrtc)
            wrong = compare(files, manifest)
        tool = arguments.nvdisasm or sass.find_nvdisasm()
        if tool is None:
            raise Failure("nvdisasm not found: install it with `pip install -r kernels/requirements.txt`, or give --nvdisasm FILE")
        with tempfile.TemporaryDirectory() as folder:
            rows, broken = sass.check(tool, Path(folder), files, manifest)
        sass.print_table(rows)
        wrong += broken
    except Failure as failure:
        wrong = [str(failure)]
    for line in wrong:
        print(f"kernels: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
