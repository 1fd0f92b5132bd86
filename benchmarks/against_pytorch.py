#!/usr/bin/env python3
"""Time of a training step and of inference on one device: unetd and PyTorch in turn, same network.

    python against_pytorch.py --build BUILD [--device cuda] [--cases 31M-step-b1,...] [--json FILE]

PyTorch runs in the fastest of its modes, found per case beforehand: memory format, frozen TorchScript
and torch.compile for inference, torch.compile for steps; jemalloc preloaded where it is installed,
since glibc's malloc costs PyTorch up to a quarter of its time. Runs alternate, each in a process of
its own with the same number of threads; times on shared cores swing together, so the ratio of a round
is worth more than any time by itself.

On a GPU both compute in f32 proper, and PyTorch may use its own CUDA graphs (torch.compile's
reduce-overhead). What it reaches with TF32 and with bf16 autocast is measured beside, not compared.
"""

import argparse
import ctypes.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

MODES = {
    "cpu": {"step": ["contiguous", "channels_last", "compile"],
            "infer": ["contiguous", "channels_last", "frozen", "compile"]},
    "cuda": {kind: ["contiguous", "channels_last", "compile", "graphs"] for kind in ("step", "infer")},
}  # fmt: skip
OTHER_PRECISIONS = {"cpu": [], "cuda": ["tf32", "bf16"]}
COMPILED = ("compile", "graphs", "tf32", "bf16")  # on a GPU the other precisions get the best of the rest


@dataclass
class Case:
    """One measurement: `kind` is step or infer."""

    name: str
    kind: str
    width: int
    channels: int
    size: int
    batch: int
    classes: int = 4


def all_cases():
    cases = []
    for kind in MODES["cpu"]:
        for batch in (1, 4):
            cases.append(Case(f"31M-{kind}-b{batch}", kind, 64, 13, 256, batch))
        for size in (128, 256):
            for batch in (1, 4, 8):
                cases.append(Case(f"w16-{size}-{kind}-b{batch}", kind, 16, 13, size, batch))
    return cases


# --- the worker: PyTorch in a process of its own ----------------------------------------------------


def compiled(net, mode):
    import torch

    return torch.compile(net, mode="reduce-overhead" if mode != "compile" else None)


def precision(device, mode):
    """The context that the forward pass runs in."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    return torch.autocast(device, dtype=torch.bfloat16, enabled=mode == "bf16")


def torch_inference(case, mode, device):
    import torch
    from torch_unet import UNet

    net = UNet(case.channels, case.classes, case.width).eval().to(device)
    x = torch.randn(case.batch, case.channels, case.size, case.size, device=device)
    if mode != "contiguous":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    if mode == "frozen":
        with torch.no_grad():
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x)))
    if mode in COMPILED:
        net = compiled(net, mode)

    def run():
        with torch.inference_mode(), precision(device, mode):
            net(x)

    return run


def torch_step(case, mode, device):
    import torch
    import torch.nn.functional as F
    from torch_unet import UNet

    net = UNet(case.channels, case.classes, case.width).train().to(device)
    x = torch.randn(case.batch, case.channels, case.size, case.size, device=device)
    y = torch.randint(0, case.classes, (case.batch, case.size, case.size), device=device)
    if mode != "contiguous":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    forward = compiled(net, mode) if mode in COMPILED else net

    def run():
        with precision(device, mode):
            loss = F.cross_entropy(forward(x), y, ignore_index=255)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return run


def work(request):
    """Runs a request of `torch_seconds` and prints its times and the version."""
    import warnings

    import torch

    warnings.filterwarnings("ignore")
    request = json.loads(request)
    torch.set_num_threads(request["threads"])
    case, mode, device = Case(**request["case"]), request["mode"], request["device"]
    run = (torch_step if case.kind == "step" else torch_inference)(case, mode, device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3 if mode in ("frozen", *COMPILED) else 1):  # the profiling executor wants two
        run()
    seconds = []
    for _ in range(request["runs"]):
        wait()
        begin = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds, "torch": torch.__version__}))


# --- the parent ---------------------------------------------------------------------------------------


def environment(threads, jemalloc):
    variables = dict(os.environ, OMP_NUM_THREADS=str(threads))
    if jemalloc:
        variables["LD_PRELOAD"] = jemalloc
    return variables


def torch_seconds(case, mode, args, runs):
    """Seconds of each run, or None if the mode fails or takes too long to set up."""
    request = json.dumps({"case": asdict(case), "mode": mode, "device": args.device,
                          "threads": args.threads, "runs": runs})  # fmt: skip
    try:
        done = subprocess.run([sys.executable, __file__, "--worker", request], check=True, text=True,
                              capture_output=True, timeout=args.timeout,
                              env=environment(args.threads, args.jemalloc))  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{case.name}: PyTorch cannot run as {mode}: {error}", file=sys.stderr)
        return None
    answer = json.loads(done.stdout.splitlines()[-1])
    args.torch = answer["torch"]
    return answer["seconds"]


def unetd_seconds(case, args, runs):
    """Seconds of each run of `unetd-bench`."""
    command = [args.build / "unetd-bench", case.kind, "--width", case.width, "--in-channels", case.channels,
               "--classes", case.classes, "--size", case.size, "--batch", case.batch, "--rounds", runs,
               "--threads", args.threads, "--device", args.device, "--json", "-",
               *(["--tune"] if args.tune else [])]  # fmt: skip
    done = subprocess.run(list(map(str, command)), check=True, text=True, stdout=subprocess.PIPE)
    answer = json.loads(done.stdout)
    args.device_name = answer["device"]
    return answer["seconds"]


def fastest_mode(case, args):
    times = {}
    for mode in MODES[args.device][case.kind]:
        if mode == "compile" and not args.compile:
            continue
        seconds = torch_seconds(case, mode, args, runs=3)
        if seconds:
            times[mode] = min(seconds)
    if not times:
        sys.exit(f"{case.name}: PyTorch runs in no mode")
    print(f"{case.name}: PyTorch " + ", ".join(f"{m} {t:.3f}" for m, t in times.items()), file=sys.stderr)
    return min(times, key=times.get), times


def measure(case, args):
    mode, tried = fastest_mode(case, args)
    others = {m: torch_seconds(case, m, args, args.runs) for m in OTHER_PRECISIONS[args.device]}
    ours, theirs, ratios = [], [], []
    for _ in range(args.rounds):
        a, b = unetd_seconds(case, args, args.runs), torch_seconds(case, mode, args, args.runs)
        ours.append(statistics.median(a))
        theirs.append(statistics.median(b))
        ratios.append(theirs[-1] / ours[-1])
    result = asdict(case) | {
        "unetd_seconds": statistics.median(ours),
        "pytorch_seconds": statistics.median(theirs),
        "pytorch_mode": mode,
        "pytorch_modes_tried": tried,
        "pytorch_other_precisions": {m: statistics.median(t) for m, t in others.items() if t},
        "speedup": statistics.median(ratios),
        "rounds": [{"unetd": a, "pytorch": b} for a, b in zip(ours, theirs)],
    }
    print(f"{case.name:18} unetd {result['unetd_seconds']:8.4f} s   PyTorch {result['pytorch_seconds']:8.4f} s "
          f"({mode})   {result['speedup']:.2f} times as fast", flush=True)  # fmt: skip
    return result


def parse_arguments():
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="unetd and PyTorch in turn on one device.")
    parser.add_argument("--device", choices=list(MODES), default="cpu")
    parser.add_argument("--build", type=Path, default=root.parent / "build" / "release")
    parser.add_argument("--cases", help="names, separated by commas; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3, help="timed runs a round and side")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--tune", action="store_true", help="unetd measures its implementations beforehand")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one PyTorch process")
    parser.add_argument("--json", type=Path, default=root / "results" / "against_pytorch.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.jemalloc, args.torch, args.device_name = ctypes.util.find_library("jemalloc"), None, None
    return args


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def main():
    args = parse_arguments()
    if args.worker:
        work(args.worker)
        return
    cases = all_cases()
    if args.cases:
        wanted = args.cases.split(",")
        unknown = set(wanted) - {c.name for c in cases}
        if unknown:
            sys.exit(f"no such case: {', '.join(unknown)}; known: {', '.join(c.name for c in cases)}")
        cases = [c for c in cases if c.name in wanted]
    if not args.jemalloc:
        print("libjemalloc is not installed: PyTorch is not in its best mode", file=sys.stderr)
    load = os.getloadavg()[0]
    args.json.parent.mkdir(exist_ok=True)
    report = {"cpu": cpu_name(), "device": None, "threads": args.threads, "torch": args.torch,
              "tuned": args.tune, "jemalloc": bool(args.jemalloc), "load_average_before": load, "cases": []}  # fmt: skip
    for case in cases:  # written after each: the long ones come last
        report["cases"].append(measure(case, args))
        report["torch"], report["device"] = args.torch, args.device_name
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
