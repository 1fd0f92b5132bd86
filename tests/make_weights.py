#!/usr/bin/env python3
"""Makes tests/fixtures/weights: small networks as PyTorch saves them, and what they answer.

    python tests/make_weights.py        # needs torch and safetensors

Each .pth is written in another of the ways in which people save networks, or is of another network.
`logits.safetensors` holds for each an image of odd size (`NAME/image`, NHWC) and the logits of PyTorch
for it (`NAME/logits`), computed in f32 with the weights as the file has them. The network without
padding is given the image mirrored at its borders.
"""

import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from fixture import FOLDER, nhwc, save

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from torch_unet import EncoderDecoder, ListedUNet, UNet  # noqa: E402

WEIGHTS = FOLDER / "weights"


def network(seed, kind=UNet, **options):
    """With batch norms that have seen something."""
    generator = torch.Generator().manual_seed(seed)
    net = kind(**options).eval()
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            value.fill_(seed)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.dim() == 1:
            value.copy_(torch.randn(value.shape, generator=generator) * 0.3 + name.endswith("weight"))
        else:
            value.copy_(torch.randn(value.shape, generator=generator) / value[0].numel() ** 0.5)
    return net


def one_storage(state):
    """All of one type as views of one flat tensor, as optimisers and sharded models keep them."""
    flat = torch.cat([torch.zeros(7, dtype=torch.float64)] + [t.flatten() for t in state.values()])
    views, at = {}, 7
    for name, t in state.items():
        views[name] = flat[at : at + t.numel()].view(t.shape)
        at += t.numel()
    return views


def transposed():
    """As milesial's train.py: the state dict with the mask's values in it."""
    net = network(11, in_channels=3, classes=2, width=3, depth=2)
    state = net.state_dict()
    state["mask_values"] = [0, 1]
    return net, state, dict()


def bilinear():
    """A checkpoint of a compiled, data-parallel model with its optimiser."""
    net = network(12, in_channels=1, classes=1, width=2, depth=2, bilinear=True, bias=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    net.train()(torch.ones(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    net.eval()
    state = {f"module._orig_mod.{name}": t for name, t in net.state_dict().items()}
    bundle = {"epoch": 3, "loss": 0.25, "best": None, "history": [0.5, 0.25], "model_state_dict": state,
              "optimizer": optimizer.state_dict()}  # fmt: skip
    return net, bundle, dict(pickle_protocol=4)


def half():
    """Half precision, filters not contiguous."""
    net = network(13, in_channels=4, classes=3, width=2, depth=3).half().to(memory_format=torch.channels_last)
    return net, {"state_dict": net.state_dict(), "amp": True}, dict(pickle_protocol=5)


def bfloat():
    """bfloat16, parameters as such."""
    net = network(14, in_channels=2, classes=2, width=2, depth=2).bfloat16()
    return net, {**dict(net.named_parameters()), **dict(net.named_buffers())}, dict(pickle_protocol=3)


def double():
    """f64, all tensors in one storage."""
    net = network(15, in_channels=2, classes=2, width=2, depth=1).double()
    state = {name: t for name, t in net.state_dict().items() if t.is_floating_point()}
    return net, {"model": one_storage(state)}, dict()


def wp99cp():
    net = network(16, in_channels=14, classes=4, width=2, depth=2)
    return net, net.state_dict(), dict()


def aladdinpersson():
    """As that implementation's save_checkpoint."""
    net = network(17, ListedUNet, in_channels=3, classes=1, width=3, depth=3)
    return net, {"state_dict": net.state_dict(), "optimizer": {}}, dict()


def ronneberger2015():
    net = network(18, in_channels=1, classes=2, width=2, depth=2, bias=True, norm=False, valid=True)
    return net, net.state_dict(), dict()


def elaouni():
    net = network(19, in_channels=3, classes=1, width=2, depth=3, bilinear=True, bias=True)
    return net, net.state_dict(), dict()


def single():
    net = network(20, in_channels=3, classes=1, width=4, depth=2, bilinear=True, bias=True, single=True)
    return net, net.state_dict(), dict()


def dumbnet():
    net = network(21, EncoderDecoder, in_channels=3, classes=2, width=5)
    return net, net.state_dict(), dict()


def answer(net, image):
    if not getattr(net, "valid", False):
        return net(image)
    height, width = image.shape[2:]
    margin, side = 20, lambda size: (size + 43) // 4 * 4  # of two levels: multiples of 4, 40 of which are lost
    behind = lambda size: side(size) - size - margin
    x = F.pad(image, (margin, behind(width), margin, behind(height)), mode="reflect")
    return net(x)[:, :, :height, :width]


def main():
    WEIGHTS.mkdir(exist_ok=True)
    tensors, metadata = {}, {}
    makers = (transposed, bilinear, half, bfloat, double, wp99cp, aladdinpersson, ronneberger2015, elaouni, single,
              dumbnet)  # fmt: skip
    for make in makers:
        name = make.__name__
        net, saved, options = make()
        torch.save(saved, WEIGHTS / f"{name}.pth", **options)
        net = net.float().to(memory_format=torch.contiguous_format)
        generator = torch.Generator().manual_seed(1)
        first = net.downs[0]["conv"] if make is aladdinpersson else next(net.children())
        channels = next(m.in_channels for m in first.modules() if isinstance(m, nn.Conv2d))
        size = {ronneberger2015: (37, 30), dumbnet: (22, 18)}.get(make, (21, 19))
        image = torch.randn(1, channels, *size, generator=generator)
        with torch.no_grad():
            tensors[f"{name}/image"], tensors[f"{name}/logits"] = nhwc(image), nhwc(answer(net, image))
    old = {"outc.conv.weight": torch.zeros(2, 3, 1, 1)}
    torch.save(old, WEIGHTS / "old.pth", _use_new_zipfile_serialization=False)
    save(tensors, metadata, WEIGHTS / "logits.safetensors")
    for path in sorted(WEIGHTS.glob("*.pth")):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
