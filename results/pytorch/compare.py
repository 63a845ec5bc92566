#!/usr/bin/env python3
"""Predicts what PyTorch will take on this machine, then lets PyTorch do it, and puts the two side by side.

For each case the program is asked first (`gpu-assay estimate … --format json`), and only then PyTorch runs: training steps of two models of
1 and 7 billion parameters, in full BF16 and with LoRA, at two batches and lengths each, with and without checkpointing, and prompts and
decoding of both. What comes out is one JSON file of predictions and measurements, and a table on standard output.

Needs torch and transformers, peft for LoRA, a GPU that torch can use (`--device cpu` tries the script on a toy model), and the binary.
Nothing is downloaded: models are made from their shapes with random weights, tokens are random from a stated seed.

    python3 results/pytorch/compare.py --calibration results/MACHINE.json --output results/pytorch/MACHINE.json
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Shapes as their makers publish them: Llama 3.2 1B and Llama 2 7B; and a toy for trying the script.
MODELS = {
    "1b": dict(num_hidden_layers=16, hidden_size=2048, intermediate_size=8192, num_attention_heads=32, num_key_value_heads=8,
               head_dim=64, vocab_size=128256, tie_word_embeddings=True),
    "7b": dict(num_hidden_layers=32, hidden_size=4096, intermediate_size=11008, num_attention_heads=32, num_key_value_heads=32,
               head_dim=128, vocab_size=32000, tie_word_embeddings=False),
    "toy": dict(num_hidden_layers=2, hidden_size=128, intermediate_size=256, num_attention_heads=4, num_key_value_heads=2,
                head_dim=32, vocab_size=512, tie_word_embeddings=False),
}
# Batch and length of the training steps; prompts of the second kind are decoded.
SETTINGS = {"1b": [(4, 2048), (2, 8192)], "7b": [(1, 2048), (2, 4096)], "toy": [(2, 64), (1, 128)]}
DECODING = {"1b": [(1, 2048), (16, 2048)], "7b": [(1, 2048), (8, 2048)], "toy": [(1, 32), (2, 32)]}
LORA_RANK = 16
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NEW_TOKENS = 64
SEED = 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-assay", default=None, help="the binary [default: target/release/gpu-assay, else the one on PATH]")
    parser.add_argument("--calibration", help="result file of this machine; without it the program predicts from documents")
    parser.add_argument("--gpu", help='GPU as the catalog names it, such as "H200 SXM" [default: the one in this machine]')
    parser.add_argument("--models", nargs="+", choices=MODELS, default=None, help="[default: 1b 7b; toy with --device cpu]")
    parser.add_argument("--steps", type=int, default=8, help="timed steps of each case, after three that are not [default: 8]")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--output", help="JSON file to write [default: standard output after the table]")
    given = parser.parse_args()
    if given.steps < 1:
        parser.error("expected at least one timed step")
    given.models = given.models or (["toy"] if given.device == "cpu" else ["1b", "7b"])
    beside = Path(__file__).resolve().parents[2] / "target/release/gpu-assay"
    given.gpu_assay = given.gpu_assay or (str(beside) if beside.is_file() else shutil.which("gpu-assay"))
    if not given.gpu_assay:
        parser.error("no gpu-assay found; build it with `cargo build --release` or name it with --gpu-assay")
    return given


def cases(models):
    for model in models:
        for batch, seq in SETTINGS[model]:
            for method in ["full-bf16", "lora"]:
                for checkpointing in ["none", "full"]:
                    yield {"kind": "train", "model": model, "method": method, "batch": batch, "seq": seq, "checkpointing": checkpointing}
        for batch, seq in DECODING[model]:
            yield {"kind": "infer", "model": model, "batch": batch, "seq": seq}


def predict(given, case, folder):
    """What the program says, before anything has run; its error line where it refuses."""
    command = [given.gpu_assay, "estimate", case["kind"], "--config", str(folder / case["model"] / "config.json"), "--format", "json",
               "--batch", str(case["batch"]), "--seq", str(case["seq"])]
    if case["kind"] == "train":
        command += ["--method", case["method"], "--checkpointing", case["checkpointing"], "--optimizer", "adamw-fused"]
        if case["method"] == "lora":
            command += ["--lora-rank", str(LORA_RANK), "--lora-targets", "all-linear"]
    else:
        command += ["--precision", "bf16", "--output", str(NEW_TOKENS), "--engine", "transformers"]
    command += ["--calibration", given.calibration] if given.calibration else []
    command += ["--gpu", given.gpu] if given.gpu else []
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    # Kept without the folders of this machine.
    asked = [Path(word).name if os.sep in word else word for word in command[1:]]
    if run.returncode != 0:
        return {"command": asked, "error": run.stderr.strip()}
    answer = json.loads(run.stdout)
    return {"command": asked, **{key: answer.get(key) for key in ["memory", "fits", "time", "basis"]}}


class Stopwatch:
    """Seconds of a piece of work: events on a GPU, the clock elsewhere."""

    def __init__(self, torch, device):
        self.torch, self.device = torch, device

    def time(self, work):
        if self.device == "cpu":
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000.0


def build(torch, case, device):
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(SEED)
    config = LlamaConfig(**MODELS[case["model"]], max_position_embeddings=32768)
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    finally:
        torch.set_default_dtype(previous)


def train(torch, case, device, steps):
    model = build(torch, case, device)
    model.config.use_cache = False
    if case["method"] == "lora":
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(r=LORA_RANK, lora_alpha=LORA_RANK, lora_dropout=0.0, target_modules=LORA_TARGETS))
    if case["checkpointing"] == "full":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if case["method"] == "lora":
            model.enable_input_require_grads()
    model.train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    shape = (case["batch"], case["seq"])
    tokens = torch.randint(0, MODELS[case["model"]]["vocab_size"], shape, device=device)

    def step():
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(3):
        step()
    watch = Stopwatch(torch, device)
    return {"step_seconds": [watch.time(step) for _ in range(steps)]}


def infer(torch, case, device, steps):
    model = build(torch, case, device).eval()
    shape = (case["batch"], case["seq"])
    tokens = torch.randint(0, MODELS[case["model"]]["vocab_size"], shape, device=device)
    watch = Stopwatch(torch, device)
    prefill, decode = [], []
    with torch.inference_mode():
        for round_ in range(1 + max(1, steps // 4)):
            state = {}

            def prompt():
                state["out"] = model(input_ids=tokens, use_cache=True, logits_to_keep=1)

            def one():
                best = state["out"].logits[:, -1:].argmax(-1)
                state["out"] = model(input_ids=best, past_key_values=state["out"].past_key_values, use_cache=True)

            first = watch.time(prompt)
            times = [watch.time(one) for _ in range(NEW_TOKENS)]
            if round_ > 0:
                prefill.append(first)
                decode.append(statistics.median(times))
    return {"prefill_seconds": prefill, "decode_seconds_per_token": decode}


def measure(torch, case, device, steps):
    """What PyTorch took: samples in seconds and peaks in bytes, or that it ran out of memory."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        measured = (train if case["kind"] == "train" else infer)(torch, case, device, steps)
    except torch.OutOfMemoryError:
        return {"out_of_memory": True}
    if device == "cuda":
        measured["allocated_bytes"] = torch.cuda.max_memory_allocated()
        measured["reserved_bytes"] = torch.cuda.max_memory_reserved()
    return measured


def ratios(predicted, measured):
    """Predicted over measured, of the median, where both are known."""
    found = {}
    for key in ["step_seconds", "prefill_seconds", "decode_seconds_per_token"]:
        if measured.get(key) and (predicted.get("time") or {}).get(key):
            found[key] = predicted["time"][key] / statistics.median(measured[key])
    for key in ["allocated_bytes", "reserved_bytes"]:
        if measured.get(key) and (predicted.get("memory") or {}).get(key):
            found[key] = predicted["memory"][key] / measured[key]
    return found


def show(case, predicted, measured, found):
    name = " ".join(str(case[key]) for key in ["kind", "model", "method", "batch", "seq", "checkpointing"] if key in case)
    if measured.get("out_of_memory"):
        verdict = (predicted.get("fits") or {}).get("verdict")
        return f"{name}: ran out of memory; predicted to fit: {verdict}"
    if predicted.get("error"):
        return f"{name}: no prediction: {predicted['error']}"
    parts = []
    for key in ["step_seconds", "prefill_seconds", "decode_seconds_per_token"]:
        if measured.get(key):
            guess = (predicted.get("time") or {}).get(key)
            parts.append(f"{key} predicted {guess if guess is None else format(guess, '.4g')} measured {statistics.median(measured[key]):.4g}")
    for key in ["allocated_bytes", "reserved_bytes"]:
        if measured.get(key):
            parts.append(f"{key} predicted {predicted['memory'][key] / 2**30:.2f} measured {measured[key] / 2**30:.2f} GiB")
    return f"{name}: " + "; ".join(parts) + "; ratios " + ", ".join(f"{key} {value:.3f}" for key, value in found.items())


def main():
    given = arguments()
    import torch
    import transformers

    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("compare.py: torch sees no GPU; try the script on a toy model with --device cpu")
    gpu = torch.cuda.get_device_properties(0) if given.device == "cuda" else None
    outcomes = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for model in given.models:
            (folder / model).mkdir()
            config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", **MODELS[model]}
            (folder / model / "config.json").write_text(json.dumps(config))
        planned = list(cases(given.models))
        for number, case in enumerate(planned, 1):
            predicted = predict(given, case, folder)
            print(f"[{number}/{len(planned)}]", end=" ", file=sys.stderr, flush=True)
            measured = measure(torch, case, given.device, given.steps)
            # A toy on the processor says nothing of a prediction for a GPU.
            found = ratios(predicted, measured) if given.device == "cuda" else {}
            print(show(case, predicted, measured, found), flush=True)
            outcomes.append({"case": case, "predicted": predicted, "measured": measured, "predicted_over_measured": found})
    document = {
        "schema_version": 1,
        "program": subprocess.run([given.gpu_assay, "--version"], capture_output=True, text=True, check=True).stdout.strip(),
        "calibration": Path(given.calibration).name if given.calibration else None,
        "device": gpu.name if gpu else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "seed": SEED,
        "models": {model: MODELS[model] for model in given.models},
        "outcomes": outcomes,
    }
    text = json.dumps(document, indent=1) + "\n"
    if given.output:
        # Whole or not at all.
        temporary = Path(given.output + ".part")
        temporary.write_text(text)
        os.replace(temporary, given.output)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
