#!/usr/bin/env python3
"""Holds what unetd-convert writes against the programs it is for.

    python tests/check_weights.py FOLDER        # of the built programs

ONNX files must give the logits of tests/fixtures/weights under ONNX Runtime, and safetensors files must
be what load_state_dict takes with strict=True. What is not installed is skipped, and said so.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
WEIGHTS = TESTS / "fixtures" / "weights"
TOLERANCE = 1e-4
NETWORKS = {
    "transposed": dict(in_channels=3, classes=2, width=3, depth=2),
    "bilinear": dict(in_channels=1, classes=1, width=2, depth=2, bilinear=True, bias=True),
    "half": dict(in_channels=4, classes=3, width=2, depth=3),
    "bfloat": dict(in_channels=2, classes=2, width=2, depth=2),
    "double": dict(in_channels=2, classes=2, width=2, depth=1),
}


def read_safetensors(path):
    """Tensors of f32 and i64 by name; the format in ten lines, so that no package is needed for it."""
    import numpy as np

    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    types = {"F32": np.float32, "I64": np.int64}
    return {
        name: np.frombuffer(body[slice(*t["data_offsets"])], types[t["dtype"]]).reshape(t["shape"])
        for name, t in header.items()
        if name != "__metadata__"
    }


def convert(programs, name, out, *flags):
    command = [programs / "unetd-convert", "--quiet", WEIGHTS / f"{name}.pth", out, *flags]
    subprocess.run([str(c) for c in command], check=True)


def check_onnx(programs, folder):
    import numpy as np
    import onnxruntime

    answers = read_safetensors(WEIGHTS / "logits.safetensors")
    for name in NETWORKS:
        image = answers[f"{name}/image"].transpose(0, 3, 1, 2)
        logits = answers[f"{name}/logits"].transpose(0, 3, 1, 2)
        out = folder / f"{name}.onnx"
        convert(programs, name, out)
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        assert session.get_outputs()[0].name == "logits"
        # Several images, turned ones among them: height and width are open, too.
        got = session.run(None, {"image": np.concatenate([image, image])})[0]
        error = max(np.abs(got[i] - logits[0]).max() for i in range(2))
        small = session.run(None, {"image": image[:, :, :16, :8]})[0]
        assert small.shape[2:] == (16, 8), small.shape
        fixed = folder / f"{name}_fixed.onnx"
        convert(programs, name, fixed, "--tile", "16", "--outputs", "probabilities")
        session = onnxruntime.InferenceSession(str(fixed), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape[2:] == [16, 16]
        shares = session.run(None, {"image": image[:, :, :16, :16]})[0]
        if logits.shape[1] > 1:
            error = max(error, np.abs(shares.sum(1) - 1).max())
        assert 0 <= shares.min() and shares.max() <= 1
        print(f"{name}: ONNX Runtime within {error:.1e}")
        assert error < TOLERANCE, name


def check_strict(programs, folder):
    import torch

    sys.path.insert(0, str(TESTS.parent / "benchmarks"))
    from torch_unet import UNet

    for name, options in NETWORKS.items():
        out = folder / f"{name}.safetensors"
        convert(programs, name, out)
        state = {key: torch.from_numpy(value.copy()) for key, value in read_safetensors(out).items()}
        UNet(**options).load_state_dict(state, strict=True)
        print(f"{name}: load_state_dict takes it")


def main():
    programs = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        for check, package in ((check_onnx, "onnxruntime"), (check_strict, "torch")):
            try:
                __import__(package)
            except ImportError:
                print(f"skipped: there is no {package}")
                continue
            check(programs, Path(folder))


if __name__ == "__main__":
    main()
