#!/usr/bin/env python3
"""The floor of near_infrared.sh: what the colours of a pixel tell of its near infrared by themselves, by a
linear regression and by a random forest.

    python pixel_regression.py DATA_FOLDER --folder RESULTS
"""

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import tifffile
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression

RED, GREEN, BLUE, INFRARED = 3, 2, 1, 7  # of scene_11b_60m.tif


def pixels(folder):
    """Of each split of tiles_128.csv, colours and reflectances of the pixels that have data."""
    scene = tifffile.imread(folder / "scene_11b_60m.tif")
    if scene.shape[0] < scene.shape[-1]:
        scene = np.moveaxis(scene, 0, -1)
    splits = {"train": [], "test": []}
    with open(folder / "tiles_128.csv") as table:
        for tile in csv.DictReader(table):
            x, y, size = (int(tile[key]) for key in ("x", "y", "size"))
            part = scene[y : y + size, x : x + size][..., [RED, GREEN, BLUE, INFRARED]].reshape(-1, 4)
            if tile["split"] in splits:
                splits[tile["split"]].append(part[(part != 0).all(-1)])
    all_ = {name: np.concatenate(parts).astype(np.float64) * 1e-4 - 0.1 for name, parts in splits.items()}
    return {name: (values[:, :3], values[:, 3]) for name, values in all_.items()}


def main():
    parser = argparse.ArgumentParser(description="Per-pixel regression of the near infrared.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, required=True, help="for the result files")
    parser.add_argument("--pixels", type=int, default=60_000, help="of the forest, drawn at random")
    args = parser.parse_args()
    splits = pixels(args.data)
    x, y = splits["train"]
    drawn = np.random.default_rng(0).choice(len(y), min(args.pixels, len(y)), replace=False)
    forest = RandomForestRegressor(100, min_samples_leaf=5, n_jobs=2, random_state=0)
    for name, model, rows in (("linear", LinearRegression(), slice(None)), ("forest", forest, drawn)):
        begin = time.monotonic()
        model.fit(x[rows], y[rows])
        wanted = splits["test"][1]
        error = model.predict(splits["test"][0]) - wanted
        result = {"what": f"pixel {name}", "pixels": len(y[rows]), "seconds": round(time.monotonic() - begin, 1),
                  "test": {"pixels": len(wanted), "rmse": float(np.sqrt(np.mean(error**2))),
                           "mae": float(np.mean(np.abs(error))), "bias": float(np.mean(error)),
                           "r2": float(1 - np.sum(error**2) / np.sum((wanted - wanted.mean()) ** 2))}}  # fmt: skip
        path = args.folder / f"values_near_infrared_{name}.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
