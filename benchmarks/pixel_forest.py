#!/usr/bin/env python3
"""The floor: a random forest that sees one pixel at a time.

    python pixel_forest.py real_scene|forest DATA_FOLDER [--pixels 60000] [--json FILE]
"""

import argparse
import json
import sys
import time

import numpy as np
from labelled_data import DATASETS, IGNORE, scores
from sklearn.ensemble import RandomForestClassifier


def main():
    parser = argparse.ArgumentParser(description="Per-pixel random forest on a labelled data set.")
    parser.add_argument("mode", choices=DATASETS)
    parser.add_argument("data")
    parser.add_argument("--pixels", type=int, default=60_000, help="training pixels, drawn at random")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file to write; standard output by default")
    args = parser.parse_args()

    data, begin = DATASETS[args.mode](args.data), time.monotonic()
    train = data.splits["train"]
    known = train.labels != IGNORE
    x, y = train.images[known], train.labels[known]
    drawn = np.random.default_rng(args.seed).choice(len(y), min(args.pixels, len(y)), replace=False)
    model = RandomForestClassifier(args.trees, n_jobs=args.threads, random_state=args.seed)
    model.fit(x[drawn], y[drawn])

    result = {"what": "pixel forest", "mode": args.mode, "pixels": len(drawn), "trees": args.trees}
    for split in ("valid", "test"):
        patches = data.splits[split]
        predicted = model.predict(patches.images.reshape(-1, x.shape[-1])).reshape(patches.labels.shape)
        result[split] = scores(predicted, patches.labels, data.classes)
    result["seconds"] = round(time.monotonic() - begin, 1)
    with open(args.json, "w") if args.json else sys.stdout as out:
        print(json.dumps(result, indent=1), file=out)


if __name__ == "__main__":
    main()
