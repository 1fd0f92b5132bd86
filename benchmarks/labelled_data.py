"""The two labelled data sets of real_scene.sh and forest.sh, in NumPy, and how maps are scored."""

import csv
from pathlib import Path

import numpy as np
import tifffile

IGNORE = 255


class Patches:
    """images: f32 (n, h, w, bands) as stored; labels: u8 (n, h, w); valid: bool (n, h, w)."""

    def __init__(self, images, labels, valid):
        self.images, self.labels, self.valid = images.astype(np.float32), labels, valid

    def __len__(self):
        return len(self.labels)


class Dataset:
    """Patches by split (train, valid, test) and the names of the classes."""

    def __init__(self, classes, splits):
        self.classes, self.splits = classes, splits

    def normalise(self):
        """Mean 0 and deviation 1 per band over the valid training pixels; 0 where there is no data."""
        train = self.splits["train"]
        pixels = train.images[train.valid].astype(np.float64)
        mean, deviation = pixels.mean(0), pixels.std(0)
        for patches in self.splits.values():
            normalised = (patches.images - mean) / deviation
            patches.images = np.where(patches.valid[..., None], normalised, 0).astype(np.float32)
        return self


def real_scene(folder):
    """One 60 m scene of 11 bands; the split is that of tiles_128.csv."""
    folder = Path(folder)
    scene = tifffile.imread(folder / "scene_11b_60m.tif")
    if scene.shape[0] < scene.shape[-1]:
        scene = np.moveaxis(scene, 0, -1)
    labels = tifffile.imread(folder / "mask_5class_60m.tif")
    valid = (scene != 0).all(-1)
    splits = {}
    with open(folder / "tiles_128.csv") as table:
        tiles = list(csv.DictReader(table))
    for split, name in [("train", "train"), ("valid", "val"), ("test", "test")]:
        windows = []
        for tile in tiles:
            if tile["split"] == name:
                x, y, size = (int(tile[key]) for key in ("x", "y", "size"))
                windows.append((slice(y, y + size), slice(x, x + size)))
        splits[split] = Patches(*(np.stack([a[w] for w in windows]) for a in (scene, labels, valid)))
    return Dataset(["land", "water", "shadow", "cloud", "cirrus"], splits)


def is_held_out(index):
    """Every seventh training image of the forest data serves for choices (4 of 29)."""
    return index % 7 == 3


def forest(folder):
    """RGB images of 512x512. `test` is the data's own val folder: scored once, nothing chosen on it."""
    folder = Path(folder)

    def read(part, keep):
        names = sorted(p.name for p in (folder / part / "images").iterdir() if p.suffix == ".tif")
        names = [name for i, name in enumerate(names) if keep(i)]
        images = np.stack([tifffile.imread(folder / part / "images" / n) for n in names])
        masks = np.stack([tifffile.imread(folder / part / "masks" / n) for n in names])
        return Patches(images, (masks - 1).astype(np.uint8), np.ones(masks.shape, bool))

    splits = {"train": read("train", lambda i: not is_held_out(i)), "valid": read("train", is_held_out),
              "test": read("val", lambda i: True)}  # fmt: skip
    return Dataset(["forest", "other"], splits)


DATASETS = {"real_scene": real_scene, "forest": forest}


def scores(predicted, labels, classes):
    """IoU of each class and their mean from one confusion matrix over all labelled pixels."""
    known = labels != IGNORE
    pairs = labels[known].astype(np.int64) * len(classes) + predicted[known]
    confusion = np.bincount(pairs, minlength=len(classes) ** 2).reshape(len(classes), -1)
    hits = np.diag(confusion)
    iou = hits / np.maximum(confusion.sum(0) + confusion.sum(1) - hits, 1)
    return {"mean_iou": float(iou.mean()), "iou": dict(zip(classes, iou.round(4).tolist())),
            "accuracy": float(hits.sum() / confusion.sum())}  # fmt: skip
