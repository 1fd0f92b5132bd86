#!/usr/bin/env python3
"""Makes tests/fixtures/weights: small networks as PyTorch saves them, and what they answer.

    python tests/make_weights.py        # needs torch and safetensors

Each .pth is written in another of the ways in which people save networks. `logits.safetensors` holds
for each an image of odd size (`NAME/image`, NHWC) and the logits of PyTorch for it (`NAME/logits`),
computed in f32 with the weights as the file has them.
"""

import sys
from pathlib import Path

import torch
from make_fixtures import FOLDER, nhwc, save

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from torch_unet import UNet  # noqa: E402

WEIGHTS = FOLDER / "weights"


def network(seed, **options):
    """With batch norms that have seen something."""
    generator = torch.Generator().manual_seed(seed)
    net = UNet(**options).eval()
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


def main():
    WEIGHTS.mkdir(exist_ok=True)
    tensors, metadata = {}, {}
    for make in (transposed, bilinear, half, bfloat, double):
        name = make.__name__
        net, saved, options = make()
        torch.save(saved, WEIGHTS / f"{name}.pth", **options)
        net = net.float().to(memory_format=torch.contiguous_format)
        generator = torch.Generator().manual_seed(1)
        channels = net.inc["double_conv"][0].in_channels
        image = torch.randn(1, channels, 21, 19, generator=generator)
        with torch.no_grad():
            tensors[f"{name}/image"], tensors[f"{name}/logits"] = nhwc(image), nhwc(net(image))
    old = {"outc.conv.weight": torch.zeros(2, 3, 1, 1)}
    torch.save(old, WEIGHTS / "old.pth", _use_new_zipfile_serialization=False)
    save(tensors, metadata, WEIGHTS / "logits.safetensors")
    for path in sorted(WEIGHTS.glob("*.pth")):
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
