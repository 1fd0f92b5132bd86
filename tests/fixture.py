"""What the makers of tests/fixtures/*.safetensors share.

One file per operation holds several cases. Tensors are named `case/x`; a case's attributes are
metadata entries of the same form (`case/stride` = "2"). Images are NHWC, filters (K, R, S, C) with
K the output channels, labels u8 with 255 = ignore, targets f32 with NaN = ignore. Inputs are f32;
expected values are computed in f64 from exactly those inputs (and checked here against f32) and
stored as f64. With upstream gradient `dy`, `dx` is the gradient of sum(y * dy); losses need no `dy`.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save as serialise

FOLDER = Path(__file__).resolve().parent / "fixtures"
IGNORE = 255


def save(tensors, metadata, path):
    """As save_file does, but the same content always gives the same bytes: the library writes the
    metadata in a random order."""
    data = serialise(tensors, {key: str(value) for key, value in metadata.items()})
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    print(f"{path.name}: {path.stat().st_size} bytes")


def nhwc(t):
    """NCHW -> NHWC; also OIHW -> (K, R, S, C)."""
    return t.permute(0, 2, 3, 1).contiguous()


def f32(value):
    """An attribute as the engine holds it, in single precision."""
    return torch.tensor(value, dtype=torch.float32).item()


class Fixture:
    """The cases of one operation, gathered and written to one file."""

    def __init__(self, op, seed):
        self.op, self.tensors, self.metadata = op, {}, {}
        self.generator = torch.Generator().manual_seed(seed)

    def randn(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def labels(self, n, h, w, classes, ignored=0.0):
        y = torch.randint(0, classes, (n, h, w), generator=self.generator)
        drop = torch.rand(n, h, w, generator=self.generator) < ignored
        return torch.where(drop, IGNORE, y)

    def add(self, case, tensors, **attributes):
        for name, tensor in tensors.items():
            self.tensors[f"{case}/{name}"] = tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, value in attributes.items():
            self.metadata[f"{case}/{name}"] = str(int(value) if isinstance(value, bool) else value)

    def save(self):
        save(self.tensors, self.metadata, FOLDER / f"{self.op}.safetensors")


def differentiate(function, inputs, upstream):
    """y and the gradients of sum(y * upstream), in f64; f32 must agree."""
    results = []
    for dtype in (torch.float64, torch.float32):
        leaves = [t.detach().to(dtype).requires_grad_() for t in inputs]
        y = function(*leaves)
        grads = torch.autograd.grad(y, leaves, upstream.to(dtype) if upstream is not None else None)
        results.append([y.detach(), *grads])
    for exact, single in zip(*results):
        scale = exact.abs().max().clamp(min=0.1).item()
        assert torch.allclose(exact, single.double(), rtol=1e-4, atol=1e-5 * scale)
    return results[0]


def make(makers):
    """Runs those of the functions that the command line names, or all of them."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    wanted = sys.argv[1:] or [m.__name__ for m in makers]
    FOLDER.mkdir(exist_ok=True)
    for maker in makers:
        if maker.__name__ in wanted:
            maker()
