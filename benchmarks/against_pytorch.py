#!/usr/bin/env python3
"""Time of a training step and of inference on one device: unetd and PyTorch in turn, same network.

    python against_pytorch.py --build BUILD [--device cuda] [--cases 31M-step-b1,...] [--json FILE]

PyTorch runs in the fastest of its modes, found per case beforehand: memory format, frozen TorchScript
and torch.compile for inference, torch.compile for steps; jemalloc preloaded where it is installed,
since glibc's malloc costs PyTorch up to a quarter of its time. Runs alternate, each in a process of
its own with the same number of threads; times on shared cores swing together, so the ratio of a round
is worth more than any time by itself.

On a GPU, f32 is f32 proper (what PyTorch reaches with TF32 is measured beside, not compared), and bf16
and f16 are autocast for PyTorch, with a gradient scaler in f16 steps; for inference it may also cast
the network. Its modes are both memory formats and torch.compile with CUDA graphs, plain
(reduce-overhead) and with measured kernels (max-autotune). Both sides copy the batch from pinned
memory, wait for the step's end and, in inference, bring the logits back; both report the memory that
they hold at their peak. All cases may take longer than a machine is at hand: --minutes ends early, and --resume
goes on from the cases that the file has.
"""

import argparse
import contextlib
import ctypes.util
import json
import math
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
    "cuda": {"step": ["contiguous", "channels_last", "graphs", "max-autotune"],
             "infer": ["contiguous", "channels_last", "cast", "graphs", "max-autotune"]},
}  # fmt: skip
# torch.compile's own names for the modes that go through it. TF32 is no mode of its own, but a
# precision that f32 is not: it gets CUDA graphs.
COMPILED = {"compile": None, "graphs": "reduce-overhead", "tf32": "reduce-overhead",
            "max-autotune": "max-autotune"}  # fmt: skip
OTHER_PRECISIONS = {("cuda", "f32"): ["tf32"]}


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
    precision: str = "f32"


def all_cases(device):
    if device == "cuda":  # those that matter most first
        return [Case(f"31M-{size}-{kind}-b{batch}-{precision}", kind, 64, 13, size, batch, precision=precision)
                for size, batch, precisions in ((256, 16, ("bf16", "f16", "f32")), (256, 64, ("bf16", "f16")),
                                                (512, 8, ("bf16", "f16")))
                for precision in precisions for kind in ("step", "infer")]  # fmt: skip
    cases = []
    for kind in MODES["cpu"]:
        for batch in (1, 4):
            cases.append(Case(f"31M-{kind}-b{batch}", kind, 64, 13, 256, batch))
        for size in (128, 256):
            for batch in (1, 4, 8):
                cases.append(Case(f"w16-{size}-{kind}-b{batch}", kind, 16, 13, size, batch))
    return cases


# --- the worker: PyTorch in a process of its own ----------------------------------------------------


def torch_dtype(case):
    import torch

    return {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[case.precision]


def compiled(net, mode):
    import torch

    return torch.compile(net, mode=COMPILED[mode]) if mode in COMPILED else net


def autocast(case, mode, device):
    """Makes the context that the forward pass runs in."""
    import torch

    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"
    if case.precision == "f32":
        return contextlib.nullcontext
    return lambda: torch.autocast(device, dtype=torch_dtype(case))


def network_and_batch(case, mode, device):
    """The network on the device, and a batch where a loader leaves it: for a GPU in pinned memory."""
    import torch
    from torch_unet import UNet

    net = UNet(case.channels, case.classes, case.width).to(device)
    x = torch.randn(case.batch, case.channels, case.size, case.size)
    if mode != "contiguous":
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    return net, x.pin_memory() if device == "cuda" else x


def torch_inference(case, mode, device):
    import torch

    net, x = network_and_batch(case, mode, device)
    net.eval()
    context = autocast(case, mode, device)
    if mode == "frozen":
        with torch.no_grad():
            net = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, x)))
    cast = case.precision != "f32" and (mode == "cast" or mode in COMPILED)
    if cast:
        net, context = net.to(torch_dtype(case)), contextlib.nullcontext
    net = compiled(net, mode)

    def run():
        with torch.inference_mode(), context():
            image = x.to(device, non_blocking=True)
            logits = net(image.to(torch_dtype(case)) if cast else image)
            if device == "cuda":
                logits.float().cpu()

    return run


def torch_step(case, mode, device):
    import torch
    import torch.nn.functional as F

    net, x = network_and_batch(case, mode, device)
    net.train()
    y = torch.randint(0, case.classes, (case.batch, case.size, case.size))
    y = y.pin_memory() if device == "cuda" else y
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    scaler = torch.amp.GradScaler(device, enabled=case.precision == "f16")
    forward = compiled(net, mode)
    context = autocast(case, mode, device)

    def run():
        image, labels = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        with context():
            loss = F.cross_entropy(forward(image), labels, ignore_index=255)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

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
    gpu = device == "cuda"
    wait = torch.cuda.synchronize if gpu else lambda: None
    for _ in range(3 if mode in ("frozen", *COMPILED) else 1):  # the profiling executor wants two
        run()
    if gpu:  # the search for kernels takes memory that a run does not
        wait()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(request["runs"]):
        wait()
        begin = time.perf_counter()
        run()
        wait()
        seconds.append(time.perf_counter() - begin)
    mib = torch.cuda.max_memory_allocated() >> 20 if gpu else None
    print(json.dumps({"seconds": seconds, "memory_mib": mib, "torch": torch.__version__}))


# --- the parent ---------------------------------------------------------------------------------------


class OutOfTime(Exception):
    """--minutes are over, in the middle of a case."""


def environment(threads, jemalloc):
    variables = dict(os.environ, OMP_NUM_THREADS=str(threads))
    if jemalloc:
        variables["LD_PRELOAD"] = jemalloc
    return variables


def time_left(args):
    return args.end - time.monotonic()


def answer_of(command, args, limit, **options):
    """What a process prints. It may take `limit` seconds, and no more than are left."""
    left = time_left(args)
    allowed = max(1.0, min(limit, left))
    try:
        done = subprocess.run(list(map(str, command)), check=True, text=True, stdout=subprocess.PIPE,
                              timeout=allowed if math.isfinite(allowed) else None, **options)  # fmt: skip
    except subprocess.TimeoutExpired:
        if left < limit:
            raise OutOfTime from None
        raise
    return done.stdout


def torch_run(case, mode, args, runs):
    """What the worker tells, or None if the mode fails or takes too long to set up."""
    request = json.dumps({"case": asdict(case), "mode": mode, "device": args.device,
                          "threads": args.threads, "runs": runs})  # fmt: skip
    try:
        text = answer_of([sys.executable, __file__, "--worker", request], args, args.timeout,
                         stderr=subprocess.PIPE, env=environment(args.threads, args.jemalloc))  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{case.name}: PyTorch cannot run as {mode}: {reason(error)}", file=sys.stderr)
        return None
    answer = json.loads(text.splitlines()[-1])
    args.torch = answer["torch"]
    return answer


def reason(error):
    """Of a process: the last line that it wrote to stderr, else what Python says."""
    lines = (error.stderr or "").strip().splitlines() if isinstance(error.stderr, str) else []
    return lines[-1] if lines else f"{type(error).__name__} after {getattr(error, 'timeout', 0):.0f} s"


def unetd_run(case, args, runs):
    """What `unetd-bench` tells."""
    command = [args.build / "unetd-bench", case.kind, "--width", case.width, "--in-channels", case.channels,
               "--classes", case.classes, "--size", case.size, "--batch", case.batch, "--rounds", runs,
               "--threads", args.threads, "--device", args.device, "--json", "-",
               "--set", f"runtime.precision={case.precision}", *(["--tune"] if args.tune else [])]  # fmt: skip
    answer = json.loads(answer_of(command, args, float("inf")))
    args.device_name = answer["device"]
    return answer


def fastest_mode(case, args):
    times = {}
    for mode in MODES[args.device][case.kind]:
        if (mode in COMPILED and not args.compile) or (mode == "cast" and case.precision == "f32"):
            continue
        answer = torch_run(case, mode, args, runs=3)
        if answer:
            times[mode] = min(answer["seconds"])
    if not times:
        sys.exit(f"{case.name}: PyTorch runs in no mode")
    print(f"{case.name}: PyTorch " + ", ".join(f"{m} {t:.4f}" for m, t in times.items()), file=sys.stderr)
    return min(times, key=times.get), times


def measure(case, args):
    mode, tried = fastest_mode(case, args)
    others = {m: torch_run(case, m, args, args.runs)
              for m in OTHER_PRECISIONS.get((args.device, case.precision), []) if args.compile}  # fmt: skip
    rounds = []
    for _ in range(args.rounds):
        ours, theirs = unetd_run(case, args, args.runs), torch_run(case, mode, args, args.runs)
        if theirs is None:
            sys.exit(f"{case.name}: PyTorch ran as {mode} before, and now does not")
        rounds.append((ours, theirs))
    middle = [(statistics.median(a["seconds"]), statistics.median(b["seconds"])) for a, b in rounds]
    result = asdict(case) | {
        "unetd_seconds": statistics.median(a for a, _ in middle),
        "pytorch_seconds": statistics.median(b for _, b in middle),
        "pytorch_mode": mode,
        "pytorch_modes_tried": tried,
        "pytorch_other_precisions": {m: statistics.median(a["seconds"]) for m, a in others.items() if a},
        "speedup": statistics.median(b / a for a, b in middle),
        "rounds": [{"unetd": a, "pytorch": b} for a, b in middle],
    }
    ours, theirs = (max(pair[side].get("memory_mib") or 0 for pair in rounds) for side in (0, 1))
    if theirs > 0:
        result |= {"unetd_mib": ours, "pytorch_mib": theirs}
    print(f"{case.name:24} unetd {result['unetd_seconds']:8.4f} s   PyTorch {result['pytorch_seconds']:8.4f} s "
          f"({mode})   {result['speedup']:.2f} times as fast", flush=True)  # fmt: skip
    return result


def parse_arguments():
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="unetd and PyTorch in turn on one device.")
    parser.add_argument("--device", choices=list(MODES), default="cpu")
    parser.add_argument("--build", type=Path, default=root.parent / "build" / "release")
    parser.add_argument("--cases", help="names, separated by commas; all by default")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3, help="timed runs a round and side")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    parser.add_argument("--tune", action="store_true", help="unetd measures its implementations beforehand")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one PyTorch process")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="for all of it")
    parser.add_argument("--resume", action="store_true", help="leave out the cases that the file has")
    parser.add_argument("--json", type=Path, default=root / "results" / "against_pytorch.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.jemalloc, args.torch, args.device_name = ctypes.util.find_library("jemalloc"), None, None
    args.end = time.monotonic() + 60 * args.minutes
    return args


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def wanted_cases(args):
    cases = all_cases(args.device)
    if not args.cases:
        return cases
    wanted = args.cases.split(",")
    unknown = set(wanted) - {c.name for c in cases}
    if unknown:
        sys.exit(f"no such case: {', '.join(unknown)}; known: {', '.join(c.name for c in cases)}")
    return [c for c in cases if c.name in wanted]


def measured_before(args):
    """The cases of the file that is to be completed."""
    if not args.resume or not args.json.exists():
        return []
    try:
        return json.loads(args.json.read_text())["cases"]
    except (ValueError, KeyError) as error:
        sys.exit(f"{args.json} cannot be completed: {error}; leave --resume away to write it anew")


def main():
    args = parse_arguments()
    if args.worker:
        work(args.worker)
        return
    if args.list:
        print("\n".join(case.name for case in all_cases(args.device)))
        return
    cases, before = wanted_cases(args), measured_before(args)
    cases = [c for c in cases if c.name not in {known["name"] for known in before}]
    if args.device == "cpu" and not args.jemalloc:
        print("libjemalloc is not installed: PyTorch is not in its best mode", file=sys.stderr)
    load = os.getloadavg()[0]
    args.json.parent.mkdir(exist_ok=True)
    report = {"cpu": cpu_name(), "device": None, "threads": args.threads, "torch": args.torch,
              "tuned": args.tune, "jemalloc": bool(args.jemalloc), "load_average_before": load,
              "cases": before}  # fmt: skip
    for done, case in enumerate(cases):  # written after each: the long ones come last
        try:
            report["cases"].append(measure(case, args))
        except OutOfTime:
            left = ",".join(c.name for c in cases[done:])
            print(f"out of time, left out: {left}; --resume goes on with them", file=sys.stderr)
            sys.exit(0 if done > 0 else 1)
        report["torch"], report["device"] = args.torch, args.device_name
        args.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
