#!/usr/bin/env python3
"""Makes tests/fixtures/parity_*.safetensors: what a few training steps in PyTorch lead to.

    python tests/make_parity.py [NAME...]        # needs torch, numpy and safetensors

Start weights and batches are not stored: they come from Philox streams (engine/base/rng.h), so C++
makes the same bits (tests/support/parity.h); `start/*` and `first_*` are there to check that it did.

The learning rate is 1e-5, milesial's default, on purpose. ReLU and max-pool have kinks: now and then
rounding alone puts a unit on the other side of one, which changes gradients by a percent. With 1e-3
two modes of PyTorch itself (with and without oneDNN, f32 and f64) are 1e-2 apart in their losses
after 30 steps; with 1e-5 they stay together to 1e-5, which `write` checks.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from fixture import FOLDER, IGNORE, save
from make_fixtures import dropout_mask, philox
from make_loss_fixtures import tversky

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from torch_unet import EncoderDecoder, ListedUNet, UNet, centred  # noqa: E402

LEARNING_RATE = 1e-5


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels, ignore_index=IGNORE)


# By the values of loss.type.
LOSSES = {
    "cross_entropy": cross_entropy,
    "cross_entropy + 0.5 dice": lambda z, y: cross_entropy(z, y) + 0.5 * tversky(z, y),
}


def random_words(count, stream, seed):
    """The first `count` numbers of Rng(seed, stream).next()."""
    return philox(np.arange((count + 3) // 4, dtype=np.uint64), stream, seed).reshape(-1)[:count]


def dense_order(tensor):
    """A filter of PyTorch as (K, R, S, C), a transposed one known by its size; vectors as they are."""
    if tensor.dim() != 4:
        return tensor
    return tensor.permute(1, 2, 3, 0) if tensor.shape[2] == 2 else tensor.permute(0, 2, 3, 1)


class Parity:
    """One training of a UNet from a given start: losses, gradient norms and final weights.

    Start: of the sorted names of all weights and biases of convolutions, number i takes its elements,
    in the order (K, R, S, C), from Rng(seed, 1000 + i): with u the top 24 bits of each number, the
    weight is (u * 2^-23 - 1) * (1 / sqrt(fan_in)), every operation in f32. fan_in is the size of one
    slice of the filter along PyTorch's first dimension (a bias uses its filter's). Batch norm: weight
    1, bias 0, mean 0, variance 1.

    Batch: image b of step t draws from Rng(seed, t * batch + b). First numbers below n, each as
    top24 * n >> 24: centre y, centre x (n = size), radius 4 + (n = size / 3), then per channel: level
    outside (n = 160), level inside 60 + (n = 160), slope (n = 4). Then one number a pixel, row-major,
    whose byte c, & 31, is the noise of channel c. Sample = min(255, level + slope * (x + y) / 2 +
    noise), `inside` where ring = dy^2 + dx^2 - radius^2 <= 0. Label 255 where |ring| <= radius, else 1
    inside and 0 outside. The network sees sample / 255 in f32.

    Step: one of LOSSES on the labels' middle where the network predicts no more, global norm clipped to
    1, AdamW with PyTorch's defaults but for the learning rate. Dropout, behind the deepest level, by
    dropout_mask(rate, seed, step).

    `network` is the class and its options, `model` the same as settings of the configuration.
    """

    def __init__(self, name, seed, size, bilinear, bias, steps=30, loss="cross_entropy", depth=4, dropout=0,
                 network=(UNet, {}), model=None):  # fmt: skip
        self.name, self.seed, self.size, self.bilinear, self.bias = name, seed, size, bilinear, bias
        self.batch, self.channels, self.classes, self.width, self.depth = 2, 3, 2, 8, depth
        self.steps, self.loss, self.dropout = steps, loss, dropout
        (self.kind, self.options), self.model = network, model or {}

    def network(self):
        net = self.kind(self.channels, self.classes, self.width, self.depth, **self.options)
        state = net.state_dict()
        weight_of = lambda name: state[name.rsplit(".", 1)[0] + ".weight"]
        names = sorted(n for n, _ in net.named_parameters() if weight_of(n).dim() == 4)
        for i, name in enumerate(names):
            fan_in = weight_of(name)[0].numel()
            top24 = random_words(state[name].numel(), 1000 + i, self.seed) >> np.uint32(8)
            unit = top24.astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
            values = unit * (np.float32(1) / np.sqrt(np.float32(fan_in)))
            ours = dense_order(state[name])  # a view: filling it fills the network
            ours.copy_(torch.from_numpy(values).reshape(ours.shape))
        return net

    def image(self, stream):
        size = self.size
        words = random_words(3 + 3 * self.channels + size * size, stream, self.seed).astype(np.int64)
        draws = iter(words[: 3 + 3 * self.channels])
        below = lambda n: int(next(draws) >> 8) * n >> 24
        cy, cx, radius = below(size), below(size), 4 + below(size // 3)
        y, x = np.mgrid[:size, :size]
        ring = (y - cy) ** 2 + (x - cx) ** 2 - radius**2
        noise = words[3 + 3 * self.channels :].reshape(size, size)
        sample = np.empty((size, size, self.channels), np.uint8)
        for c in range(self.channels):
            outside, inside, slope = below(160), 60 + below(160), below(4)
            level = np.where(ring <= 0, inside, outside) + slope * (x + y) // 2
            sample[..., c] = np.minimum(255, level + (noise >> (8 * c) & 31))
        label = np.where(np.abs(ring) <= radius, IGNORE, ring <= 0)
        return sample, label

    def batch_at(self, step):
        images, labels = zip(*(self.image(step * self.batch + b) for b in range(self.batch)))
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)).long()

    def train(self, dtype, onednn=True, channels_last=False):
        torch.backends.mkldnn.enabled = onednn
        net = self.network().to(dtype).train()
        if channels_last:
            net = net.to(memory_format=torch.channels_last)
        optimizer = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE)
        losses, norms = [], []
        for step in range(self.steps):
            images, labels = self.batch_at(step)
            if self.dropout > 0:
                net.drop = lambda x: x * dropout_mask(x.shape, self.dropout, self.seed, step).to(x.dtype)
            x = (images.float() / 255).to(dtype).permute(0, 3, 1, 2)
            x = x if channels_last else x.contiguous()
            logits = net(x)
            labels = centred(labels.unsqueeze(1), *logits.shape[2:]).squeeze(1)
            loss = LOSSES[self.loss](logits, labels)
            optimizer.zero_grad()
            loss.backward()
            norms.append(nn.utils.clip_grad_norm_(net.parameters(), 1.0).item())
            losses.append(loss.item())
            optimizer.step()
        state = {n: t for n, t in net.state_dict().items() if t.is_floating_point()}
        return torch.tensor(losses).double(), torch.tensor(norms).double(), state

    def write(self):
        """`final/NAME`: 64 evenly spread elements of each tensor in the order (K, R, S, C), number
        floor(i * count / 64), or all where there are no more; `start/NAME`: the same before training.
        `summary/NAME`, of all elements: sum, L2 norm, L2 norm of the movement final - start, and the
        relative distance between the movements in f32 and in f64, which is what rounding alone does.
        """
        losses, norms, final = self.train(torch.float32)
        exact_losses, _, exact = self.train(torch.float64)
        others = [self.train(torch.float32, onednn=False), self.train(torch.float32, channels_last=True)]
        spread = max(relative(l, exact_losses) for l in (losses, *(other[0] for other in others)))
        assert spread < 1e-5, f"{self.name}: rounding alone moves the losses by {spread}; change the seed"

        start = self.network().state_dict()
        tensors = {"losses": losses, "grad_norms": norms, "first_images": self.batch_at(0)[0],
                   "first_labels": self.batch_at(0)[1].to(torch.uint8).unsqueeze(-1)}  # fmt: skip
        for name, value in final.items():
            if self.bias and self.options.get("norm", True) and is_noise(name):
                continue
            moved, exact_moved = value.double() - start[name].double(), exact[name] - start[name].double()
            index = torch.arange(min(64, value.numel())) * value.numel() // min(64, value.numel())
            tensors[f"start/{name}"] = dense_order(start[name]).flatten()[index]
            tensors[f"final/{name}"] = dense_order(value).flatten()[index]
            tensors[f"summary/{name}"] = torch.stack([
                value.double().sum(), value.double().norm(), moved.norm(),
                (moved - exact_moved).norm() / exact_moved.norm()])  # fmt: skip
        metadata = dict(
            seed=self.seed, size=self.size, batch=self.batch, steps=self.steps, width=self.width,
            depth=self.depth, in_channels=self.channels, classes=self.classes, learning_rate=LEARNING_RATE,
            clip_norm=1.0, conv_bias=int(self.bias), upsample="bilinear" if self.bilinear else "transposed",
            loss=self.loss, **{f"model.{key}": value for key, value in self.model.items()},
        )  # fmt: skip
        tensors = {name: t.contiguous() for name, t in tensors.items()}
        save(tensors, metadata, FOLDER / f"{self.name}.safetensors")
        worst = max(t[3].item() for n, t in tensors.items() if n.startswith("summary/"))
        print(f"{self.name}: losses {losses[0]:.4f} -> {losses[-1]:.4f}, gradient norms {norms.min():.2f} to "
              f"{norms.max():.2f}, rounding: losses {spread:.1e}, movements {worst:.1e}")  # fmt: skip


def relative(losses, exact):
    return ((losses - exact).abs() / exact).max().item()


def is_noise(name):
    """A bias in front of a batch norm has no gradient but rounding, which AdamW scales up to full steps:
    its value is noise, and so is the running mean that it shifts. Neither is stored."""
    layer, kind = name.rsplit(".", 1)
    index = layer.rsplit(".", 1)[-1]
    return "_conv" in layer and ((kind == "bias" and index in "03") or kind == "running_mean")


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    bilinear = (UNet, dict(bilinear=True, bias=True))
    overlap = dict(steps=10, loss="cross_entropy + 0.5 dice")
    all_of_them = [
        Parity("parity_transposed", 4, 32, bilinear=False, bias=False),
        Parity("parity_bilinear", 12, 32, bilinear=True, bias=True, network=bilinear),
        Parity("parity_overlap", 4, 32, bilinear=False, bias=False, **overlap),
        Parity("parity_aladdinpersson", 4, 35, bilinear=False, bias=False, steps=10, depth=3,
               network=(ListedUNet, {}), model=dict(fit="resize", names="aladdinpersson")),
        Parity("parity_ronneberger2015", 4, 64, bilinear=False, bias=True, steps=10, depth=2, dropout=0.5,
               network=(UNet, dict(bias=True, norm=False, valid=True)),
               model=dict(padding="valid", norm="none", dropout=0.5)),
        Parity("parity_single", 12, 32, bilinear=True, bias=True, steps=10,
               network=(UNet, dict(bilinear=True, bias=True, single=True)), model=dict(block="single")),
        Parity("parity_dumbnet", 4, 33, bilinear=True, bias=True, steps=10, depth=2,
               network=(EncoderDecoder, {}), model=dict(block="single", down="strided", skips="false")),
    ]  # fmt: skip
    for parity in all_of_them:
        if not sys.argv[1:] or parity.name in sys.argv[1:]:
            parity.write()


if __name__ == "__main__":
    main()
