#!/usr/bin/env python3
"""What a plain, good PyTorch training loop reaches on the same data in the same time.

    python pytorch_baseline.py real_scene|forest DATA_FOLDER (--minutes M | --steps N) [--json FILE]
        [--eval-every STEPS]

The network is the same UNet (width 16), the recipe the usual one: z-score, AdamW, cosine, flips and
quarter turns, cross entropy. With --minutes the number of steps, and with it the schedule, comes from
a measured warm-up, which counts towards the time; with --steps it is part of the steps. --eval-every
keeps the course of the validation's mean IoU.
"""

import argparse
import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from labelled_data import DATASETS, IGNORE, scores
from torch_unet import UNet


class Batches:
    """An endless stream of augmented training batches, every patch once an epoch."""

    def __init__(self, patches, batch, crop, seed):
        self.images = torch.from_numpy(patches.images).permute(0, 3, 1, 2).contiguous()
        self.labels = torch.from_numpy(patches.labels).long()
        self.batch, self.random, self.order = batch, np.random.default_rng(seed), []
        self.crop = crop or self.labels.shape[1]

    def sample(self, index):
        height, width = self.labels.shape[1:]
        y = self.random.integers(height - self.crop + 1)
        x = self.random.integers(width - self.crop + 1)
        window = (..., slice(y, y + self.crop), slice(x, x + self.crop))
        image, label = self.images[index][window], self.labels[index][window]
        turns = int(self.random.integers(4))
        image, label = torch.rot90(image, turns, (-2, -1)), torch.rot90(label, turns, (-2, -1))
        if self.random.integers(2):
            image, label = image.flip(-1), label.flip(-1)
        return image, label

    def next(self):
        while len(self.order) < self.batch:
            self.order = self.order + self.random.permutation(len(self.labels)).tolist()
        chosen, self.order = self.order[: self.batch], self.order[self.batch :]
        images, labels = zip(*map(self.sample, chosen))
        return torch.stack(images), torch.stack(labels)


class Training:
    def __init__(self, data, args):
        self.args, self.data = args, data
        train = data.splits["train"]
        torch.manual_seed(args.seed)
        self.net = UNet(train.images.shape[-1], len(data.classes), args.width)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=args.lr, fused=True)
        self.batches = Batches(train, args.batch, args.crop, args.seed)
        self.format = torch.contiguous_format

    def use_format(self, memory_format):
        self.format = memory_format
        self.net = self.net.to(memory_format=memory_format)

    def step(self, learning_rate):
        images, labels = self.batches.next()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        logits = self.net(images.contiguous(memory_format=self.format))
        loss = F.cross_entropy(logits, labels, ignore_index=IGNORE)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        return loss.item()

    def warm_up(self):
        """Takes the faster memory format and returns the seconds of a step in it. The steps are real
        ones, with a learning rate that rises to its full value."""
        seconds, taken = {}, 0
        for memory_format in (torch.channels_last, torch.contiguous_format):
            self.use_format(memory_format)
            times = []
            for _ in range(self.args.warm_up_steps):
                taken += 1
                begin = time.monotonic()
                self.step(self.args.lr * taken / (2 * self.args.warm_up_steps))
                times.append(time.monotonic() - begin)
            seconds[memory_format] = float(np.median(times[1:]))
        best = min(seconds, key=seconds.get)
        self.use_format(best)
        return seconds[best]

    def run(self):
        begin, deadline = time.monotonic(), math.inf
        self.net.train()
        per_step = self.warm_up()
        steps = self.args.steps
        if self.args.minutes:
            deadline = begin + 60 * self.args.minutes
            steps = max(1, int((deadline - time.monotonic()) / per_step))
        done, loss, reported = 0, None, begin
        curve = []
        if self.args.steps:  # the warm-up's are among them
            done = 2 * self.args.warm_up_steps
        while done < steps and time.monotonic() < deadline:
            progress = done / steps
            loss = self.step(self.args.lr * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2))
            done += 1
            if self.args.eval_every and (done % self.args.eval_every == 0 or done == steps):
                curve.append([done, self.evaluate("valid")["mean_iou"]])
                self.net.train()
            if time.monotonic() > reported + 30:
                reported = time.monotonic()
                print(f"step {done} of {steps}, loss {loss:.4f}", file=sys.stderr)
        return ({"curve": curve} if curve else {}) | {
                "steps": done, "planned_steps": steps, "warm_up_steps": 2 * self.args.warm_up_steps,
                "train_seconds": round(time.monotonic() - begin, 1), "last_loss": loss,
                "channels_last": self.format == torch.channels_last}  # fmt: skip

    @torch.inference_mode()
    def evaluate(self, split):
        patches = self.data.splits[split]
        self.net.eval()
        predicted = []
        for i in range(0, len(patches), self.args.batch):
            x = torch.from_numpy(patches.images[i : i + self.args.batch]).permute(0, 3, 1, 2)
            predicted.append(self.net(x.contiguous(memory_format=self.format)).argmax(1).numpy())
        return scores(np.concatenate(predicted), patches.labels, self.data.classes)


def parse_arguments():
    parser = argparse.ArgumentParser(description="A plain PyTorch training loop on a labelled data set.")
    parser.add_argument("mode", choices=DATASETS)
    parser.add_argument("data")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float)
    length.add_argument("--steps", type=int)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, help="256 for forest, else whole tiles")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eval-every", type=int, default=0, help="steps; 0: only at the end")
    parser.add_argument("--warm-up-steps", type=int, default=5, help="per memory format")
    parser.add_argument("--json", help="file to write; standard output by default")
    args = parser.parse_args()
    if args.crop is None:
        args.crop = 256 if args.mode == "forest" else 0
    return args


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    training = Training(DATASETS[args.mode](args.data).normalise(), args)
    result = {"what": "PyTorch loop", "torch": torch.__version__, "mode": args.mode, "minutes": args.minutes,
              "width": args.width, "batch": args.batch, "crop": args.crop, "threads": args.threads,
              "seed": args.seed}  # fmt: skip
    result |= training.run()
    for split in ("valid", "test"):
        result[split] = training.evaluate(split)
    with open(args.json, "w") if args.json else sys.stdout as out:
        print(json.dumps(result, indent=1), file=out)


if __name__ == "__main__":
    main()
