#!/usr/bin/env python3
"""Small things that the scripts beside it do with scores and masks; standard library only.

    scores.py join RUN SECONDS VALID TEST OUT
                                          a run and two outputs of `unetd-eval --json` as one file
    scores.py curve RUN SEED SECONDS TEST OUT
                                          a run's course and its output of `unetd-eval --json`
    scores.py values RUN SECONDS TEST OUT the same of a network that predicts values
    scores.py at-least FILE CLASS=IOU...  test IoUs of a file beside what they are to reach; exit code 1
                                          if one does not
    scores.py table TITLE=FILE...         the test IoUs of several files beside one another
    scores.py same-nodata SCENE MAP       compares raw validity masks; exit code 1 if they differ
"""

import json
import os
import sys
from pathlib import Path


def join(run, seconds, valid, test, out):
    """The form in which pytorch_baseline.py and pixel_forest.py write."""
    last = Path(run, "metrics.jsonl").read_text().splitlines()[-1]
    result = {"what": "unetd", "steps": json.loads(last)["step"], "train_seconds": round(float(seconds), 1),
              "threads": threads_of(run), "cpu": cpu_name()}  # fmt: skip
    for split, path in (("valid", valid), ("test", test)):
        scores = json.loads(Path(path).read_text())
        result[split] = {"mean_iou": scores["mean_iou"], "accuracy": scores["accuracy"],
                         "iou": {c["name"]: c["iou"] for c in scores["classes"]}}  # fmt: skip
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


def threads_of(run):
    """runtime.threads of the run, where 0 means one for each core."""
    runtime = Path(run, "config.yml").read_text().split("\nruntime:\n", 1)[1]
    stated = next(int(x.split(":")[1]) for x in runtime.splitlines() if x.strip().startswith("threads:"))
    return stated or len(os.sched_getaffinity(0))


def curve(run, seed, seconds, test, out):
    """The form in which pytorch_baseline.py --eval-every writes."""
    lines = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    scores = json.loads(Path(test).read_text())
    result = {"what": "unetd", "seed": int(seed), "steps": lines[-1]["step"],
              "train_seconds": round(float(seconds), 1), "threads": threads_of(run), "cpu": cpu_name(),
              "curve": [[x["step"], x["valid"]["mean_iou"]] for x in lines if "valid" in x],
              "test": {"mean_iou": scores["mean_iou"],
                       "iou": {c["name"]: c["iou"] for c in scores["classes"]}}}  # fmt: skip
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


def values(run, seconds, test, out):
    """The form in which pixel_regression.py writes."""
    last = Path(run, "metrics.jsonl").read_text().splitlines()[-1]
    result = {"what": "unetd", "steps": json.loads(last)["step"], "train_seconds": round(float(seconds), 1),
              "threads": threads_of(run), "cpu": cpu_name(),
              "test": json.loads(Path(test).read_text())}  # fmt: skip
    Path(out).write_text(json.dumps(result, indent=1) + "\n")


def at_least(path, *wanted):
    reached = json.loads(Path(path).read_text())["test"]["iou"]
    missed = 0
    print("test IoU     reached  wanted")
    for item in wanted:
        name, level = item.split("=", 1)
        missed += not (reached[name] or 0) >= float(level)
        print(f"{name:12} {format_score(reached[name]):>7}  {float(level):6.3f}")
    return 1 if missed else 0


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "unknown")


def table(*columns):
    results = {}
    for column in columns:
        title, path = column.split("=", 1)
        if Path(path).exists():
            results[title] = json.loads(Path(path).read_text())
        else:
            print(f"no figures for {title}: {path} is not there")
    rows = [["test IoU", *results]]
    classes = next(iter(results.values()))["test"]["iou"]
    for name in classes:
        rows.append([name, *(format_score(r["test"]["iou"][name]) for r in results.values())])
    for split in ("test", "valid"):
        rows.append([f"mean, {split}", *(format_score(r[split]["mean_iou"]) for r in results.values())])
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths))))


def format_score(value):
    return "-" if value is None else f"{value:.3f}"


def same_nodata(scene, map_):
    """Each file holds one mask a band, one after another; a pixel counts as valid if all bands are."""
    masks = [Path(path).read_bytes() for path in (scene, map_)]
    pixels = len(masks[1])  # the map has one band
    bands = [int.from_bytes(masks[0][i : i + pixels], "little") for i in range(0, len(masks[0]), pixels)]
    valid = bands[0]
    for band in bands[1:]:
        valid &= band
    differing = sum(a != b for a, b in zip(valid.to_bytes(pixels, "little"), masks[1]))
    missing = masks[1].count(0)
    print(f"nodata: {missing} of {pixels} pixels of the map; {differing} differ from the scene")
    return 1 if differing or len(masks[0]) % pixels else 0


def main():
    commands = {"join": join, "curve": curve, "values": values, "at-least": at_least, "table": table,
                "same-nodata": same_nodata}  # fmt: skip
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))


if __name__ == "__main__":
    main()
