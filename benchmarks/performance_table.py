#!/usr/bin/env python3
"""Writes the tables of docs/performance.md, or of another page, anew from benchmarks/results/*.json;
standard library only.

    performance_table.py [--check] [--page PAGE] [--results FOLDER]

A table stands between `<!-- table: KIND ARGUMENT -->` and `<!-- /table -->`; KIND is a function of this
file. What has no results yet is said to have none. --check changes nothing and fails where the page
differs from what would be written.
"""

import argparse
import difflib
import json
import math
import re
import statistics
import sys
from pathlib import Path

BLOCK = re.compile(r"(<!-- table: (.*?) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)
ROOT = Path(__file__).resolve().parent.parent


class Results:
    """The result files of one folder."""

    def __init__(self, folder):
        self.folder = folder

    def load(self, pattern):
        """The contents of the files that match, in the order of their names."""
        contents = []
        for path in sorted(self.folder.glob(pattern)):
            try:
                contents.append(json.loads(path.read_text()))
            except ValueError as error:
                sys.exit(f"{path} is not JSON: {error}; write it again")
        return contents


def table(head, rows):
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def not_measured(files, command):
    return [f"Not measured yet: `{command}` writes `benchmarks/results/{files}`."]


def plural(number, noun):
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


# --- scores on labelled data --------------------------------------------------------------------------

TRAINERS = {"unetd": "unetd", "pytorch": "plain PyTorch loop", "pixel_forest": "pixel-wise random forest"}


def score(value):
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def describe_run(title, run):
    """Who trained, and for how long: what of it the file tells."""
    facts = [plural(run[key], noun) for key, noun in (("steps", "step"), ("pixels", "pixel"), ("trees", "tree"))
             if run.get(key)]  # fmt: skip
    facts += [f"{key} {run[key]}" for key in ("batch", "crop", "width", "depth") if run.get(key)]
    seconds = run.get("train_seconds") or 60 * (run.get("minutes") or 0) or run.get("seconds")
    if seconds:
        facts.append(plural(round(seconds / 60), "minute"))
    if run.get("threads"):
        facts.append(plural(run["threads"], "thread"))
    return f"{title} ({', '.join(facts)})" if facts else title


def bold_best(columns):
    """Each column as text, its largest number in bold."""
    texts = []
    for column in columns:
        numbers = [x for x in column if x is not None]
        best = max(numbers) if len(numbers) > 1 else None
        texts.append([f"**{score(x)}**" if x is not None and x == best else score(x) for x in column])
    return texts


def scores(results, name):
    runs = [(title, run) for kind, title in TRAINERS.items() for run in results.load(f"{kind}_{name}*.json")]
    if not runs:
        return not_measured(f"unetd_{name}.json", f"benchmarks/{name}.sh")
    classes = list(dict.fromkeys(c for _, run in runs for c in run["test"]["iou"]))
    columns = [[run["test"]["iou"].get(c) for _, run in runs] for c in classes]
    columns += [[run.get(split, {}).get("mean_iou") for _, run in runs] for split in ("test", "valid")]
    rows = [[describe_run(*run), *texts] for run, texts in zip(runs, zip(*bold_best(columns)))]
    return table(["IoU of the test split", *classes, "mean", "mean, validation"], rows)


# --- learning curves ----------------------------------------------------------------------------------

SYSTEMS = {"unetd": "unetd", "torch": "PyTorch"}


def spread(numbers):
    """Mean and, of several, their standard deviation."""
    mean = score(statistics.mean(numbers))
    return f"{mean} ± {score(statistics.stdev(numbers))}" if len(numbers) > 1 else mean


def curves(results, name):
    """Of each system the test scores of its seeds, and the mean course of the validation."""
    runs = {title: results.load(f"curve_{name}_{kind}_*.json") for kind, title in SYSTEMS.items()}
    if not all(runs.values()):
        return not_measured(f"curve_{name}_*.json", "benchmarks/learning_curves.sh")
    seeds = sorted({run["seed"] for system in runs.values() for run in system})
    rows = []
    for title, system in runs.items():
        by_seed = {run["seed"]: run["test"]["mean_iou"] for run in system}
        rows.append([describe_run(title, system[0]), *(score(by_seed.get(seed)) for seed in seeds),
                     spread(list(by_seed.values()))])  # fmt: skip
    lines = table(["mean IoU of the test split", *(f"seed {seed}" for seed in seeds), "mean"], rows)
    courses = {title: [dict(run["curve"]) for run in system] for title, system in runs.items()}
    steps = sorted(set.intersection(*(set(course) for all_ in courses.values() for course in all_)))
    few = 8
    shown = steps[:: max(1, len(steps) // few)]
    if steps and shown[-1] != steps[-1]:
        shown.append(steps[-1])
    rows = [[title, *(spread([course[step] for course in all_]) for step in shown)]
            for title, all_ in courses.items()]  # fmt: skip
    return [*lines, "", *table(["mean IoU of the validation split at step", *map(str, shown)], rows)]


# Published by wp99cp/bachelor-thesis (docs/models/unet.md) for its best run, epoch 30 of a82e3cd, on its
# own validation patches, at a threshold of 0.75.
PUBLISHED = {"snow_scene": {"background": 0.9431, "snow": 0.9424, "clouds": 0.9513, "water": 0.7838}}


def level(results, name):
    runs = results.load(f"{name}*.json")
    if not runs:
        return not_measured(f"{name}.json", f"benchmarks/{name}.sh")
    published = PUBLISHED[name]
    rows = [[describe_run(run["what"], run), *(score(run["test"]["iou"][c]) for c in published)] for run in runs]
    rows.append(["published, real scenes", *(score(x) for x in published.values())])
    return table(["IoU of the test scene", *published], rows)


REGRESSORS = {"unetd": "unetd", "forest": "pixel-wise random forest", "linear": "pixel-wise linear regression"}


def values(results, name):
    """Errors of networks that predict values, and of what is fitted to single pixels."""
    runs = [(title, run) for kind, title in REGRESSORS.items() for run in results.load(f"values_{name}_{kind}.json")]
    if not runs:
        return not_measured(f"values_{name}_*.json", f"benchmarks/{name}.sh")
    keys = {"RMSE": "rmse", "MAE": "mae", "bias": "bias", "R²": "r2"}
    rows = [[describe_run(title, run), *(f"{run['test'][key]:.4f}" for key in keys.values()),
             f"{run['test']['pixels']:,}"] for title, run in runs]  # fmt: skip
    return table(["test split", *keys, "pixels"], rows)


# --- speed beside PyTorch -----------------------------------------------------------------------------

KINDS = {"step": "training step", "infer": "inference"}


def seconds_text(value):
    """Four digits that count, at least milliseconds."""
    if value is None:
        return "-"
    digits = max(3, 3 - math.floor(math.log10(value))) if value > 0 else 3
    return f"{value:.{digits}f}"


def case_text(case):
    size, channels = case["size"], f"{case['channels']} → {case['classes']} channels"
    how = "" if case.get("precision", "f32") == "f32" else f", {case['precision']}"
    return f"{KINDS[case['kind']]}, width {case['width']}, {channels}, {case['batch']}x{size}x{size}{how}"


def machine(report):
    facts = [report.get("device") or report.get("cpu")]
    if report.get("cpu") in (None, facts[0]) and report.get("threads"):
        facts.append(plural(report["threads"], "thread"))
    facts.append("PyTorch " + (report.get("torch") or "(its version was not kept)"))
    if report.get("jemalloc"):
        facts[-1] += " with jemalloc"
    if report.get("tuned"):
        facts.append("both tuned")
    note = f" Note: {report['note']}." if report.get("note") else ""
    return ", ".join(facts) + "." + note


def against_pytorch(results, device):
    return [r for r in results.load(f"against_pytorch_{device}*.json") if r.get("cases")]


def speed(results, device):
    reports = against_pytorch(results, device)
    if not reports:
        script = "against_pytorch.py" if device == "cpu" else "gpu_check.sh"
        return not_measured(f"against_pytorch_{device}.json", f"benchmarks/{script}")
    lines = []
    for report in reports:
        rows = []
        memory = ["unetd_mib", "pytorch_mib"] if any("unetd_mib" in c for c in report["cases"]) else []
        for case in report["cases"]:
            times = [seconds_text(case["unetd_seconds"]), seconds_text(case["pytorch_seconds"])]
            winner = 0 if case["unetd_seconds"] <= case["pytorch_seconds"] else 1
            times[winner] = f"**{times[winner]}**"
            rows.append([case_text(case), *times, case["pytorch_mode"], f"{case['speedup']:.2f}"])
            if memory:
                rows[-1] += [f"{case[side]:,}" if side in case else "-" for side in memory]
        head = ["seconds", "unetd", "PyTorch", "its mode", "times as fast"]
        head += ["memory, MiB: unetd", "PyTorch"] if memory else []
        lines += ["", *table(head, rows), "", machine(report)]
    return lines[1:]


def modes(results, device):
    """All of PyTorch's modes, and precisions that are not compared; nothing where `speed` has nothing."""
    lines = []
    for report in against_pytorch(results, device):
        times = [c.get("pytorch_modes_tried", {}) | c.get("pytorch_other_precisions", {})
                 for c in report["cases"]]  # fmt: skip
        names = list(dict.fromkeys(mode for tried in times for mode in tried))
        rows = [[case_text(case), *(seconds_text(tried.get(mode)) for mode in names)]
                for case, tried in zip(report["cases"], times)]  # fmt: skip
        lines += ["", *table(["PyTorch, seconds", *names], rows)]
    return lines[1:]


# --- unetd by itself ----------------------------------------------------------------------------------


def network(results, device):
    reports = results.load(f"{device}_step*.json") + results.load(f"{device}_infer*.json")
    if not reports:
        return not_measured(f"{device}_step.json", "benchmarks/gpu_check.sh")
    rows = []
    for report in reports:
        case = report["network"] | {"kind": report["benchmark"], "channels": report["network"]["in_channels"]}
        how = ", tuned" if report.get("tuned") else ""
        rate = case["batch"] / statistics.median(report["seconds"])
        rows.append([case_text(case) + how, seconds_text(statistics.median(report["seconds"])),
                     f"{rate:,.1f}", f"{report['gflops'] / 1e3:.2f}",
                     shares([report["gflops"] / report["peak_gflops"]]) if "peak_gflops" in report else "-",
                     f"{report['memory_mib']:,}"])  # fmt: skip
    devices = dict.fromkeys(report["device"] for report in reports)
    head = ["", "seconds", "images a second", "TFLOP/s in convolutions", "share of the peak", "memory, MiB"]
    return [*table(head, rows), "", "; ".join(devices) + "."]


def span(values, scale=1.0):
    low, high = min(values) / scale, max(values) / scale
    return f"{low:,.1f}" if f"{low:,.1f}" == f"{high:,.1f}" else f"{low:,.1f} to {high:,.1f}"


def shares(values):
    low, high = (f"{100 * x:.0f}" for x in (min(values), max(values)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def beside_library(cases):
    """How many times as fast as cuDNN's or cuBLAS's the hand-written kernel is, where there are both."""
    ratios = []
    for case in cases:
        seconds = {t["name"]: t["seconds"] for t in case["implementations"]}
        theirs = [seconds[name] for name in ("cudnn", "cublas") if name in seconds]
        if theirs and "cuda" in seconds:
            ratios.append(min(theirs) / seconds["cuda"])
    return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else "-"


def peak_text(peak):
    products = ", ".join(f"{rate / 1e3:,.1f} TFLOP/s in {dtype}" for dtype, rate in peak.get("gflops", {}).items())
    copy = f"a copy of its memory runs at {peak['gb_per_s']:,.0f} GB/s"
    return copy + (f", a matrix product at {products}" if products else "")


def operations(results, device):
    reports = results.load(f"{device}_ops*.json")
    if not reports:
        return not_measured(f"{device}_ops.json", "benchmarks/gpu_check.sh")
    lines = []
    for report in reports:
        rows = []
        for problem in dict.fromkeys(case["problem"] for case in report["cases"]):
            cases = [case for case in report["cases"] if case["problem"] == problem]
            preferred = [case["implementations"][0] for case in cases]
            computing = [t["gflops"] for t, case in zip(preferred, cases) if case["flops"] > 0]
            slower = sum(case["preferred"] != case["fastest"] for case in cases)
            rows.append([problem, str(len(cases)), ", ".join(dict.fromkeys(t["name"] for t in preferred)),
                         span([t["gb_per_s"] for t in preferred]),
                         span(computing, 1e3) if computing else "-",
                         shares([t["share_of_peak"] for t in preferred]), beside_library(cases),
                         str(slower)])  # fmt: skip
        head = ["operation", "cases", "preferred", "GB/s", "TFLOP/s", "share of the peak",
                "ours, times as fast as the library's", "cases where another is faster"]  # fmt: skip
        lines += ["", *table(head, rows), "", f"{report['device']}; {peak_text(report['peak'])}."]
    return lines[1:]


# --- the page -----------------------------------------------------------------------------------------

TABLES = {f.__name__: f for f in (scores, curves, level, values, speed, modes, network, operations)}


def write_tables(page, results):
    def block(match):
        kind, _, argument = match[2].partition(" ")
        if kind not in TABLES or not argument:
            sys.exit(f"'{match[1].strip()}': KIND ARGUMENT with one of {', '.join(TABLES)} is wanted")
        return match[1] + "\n".join(TABLES[kind](results, argument)) + "\n" + match[4]

    if page.count("<!-- table:") != len(BLOCK.findall(page)):
        sys.exit("a table is begun and not ended: <!-- /table --> is missing")
    return BLOCK.sub(block, page)


def main():
    parser = argparse.ArgumentParser(description="The tables of a page from result files.")
    parser.add_argument("--check", action="store_true", help="only say whether the page would change")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    old = args.page.read_text()
    new = write_tables(old, Results(args.results))
    if args.check and new != old:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "page", "results"))
        sys.exit(f"{args.page} is not what the results say; run benchmarks/performance_table.py")
    if not args.check:
        args.page.write_text(new)


if __name__ == "__main__":
    main()
