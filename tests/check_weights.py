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
    "wp99cp": dict(in_channels=14, classes=4, width=2, depth=2),
    "aladdinpersson": dict(kind="ListedUNet", in_channels=3, classes=1, width=3, depth=3),
    "ronneberger2015": dict(in_channels=1, classes=2, width=2, depth=2, bias=True, norm=False, valid=True),
    "elaouni": dict(in_channels=3, classes=1, width=2, depth=3, bilinear=True, bias=True),
    "single": dict(in_channels=3, classes=1, width=4, depth=2, bilinear=True, bias=True, single=True),
    "dumbnet": dict(kind="EncoderDecoder", in_channels=3, classes=2, width=5),
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
    for name, options in NETWORKS.items():
        image = answers[f"{name}/image"].transpose(0, 3, 1, 2)
        logits = answers[f"{name}/logits"].transpose(0, 3, 1, 2)
        out = folder / f"{name}.onnx"
        # Without padding an image is mirrored by who gives it, as tests/make_weights.py does.
        margin, flags = 0, []
        if options.get("valid"):
            margin, flags = 20, ["--set", "model.padding=valid"]
            image = np.pad(image, ((0, 0), (0, 0), (20, 23), (20, 22)), mode="reflect")
        convert(programs, name, out, *flags)
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        assert session.get_outputs()[0].name == "logits"
        # Several images, turned ones among them: height and width are open, too.
        got = session.run(None, {"image": np.concatenate([image, image])})[0]
        height, width = logits.shape[2:]
        error = max(np.abs(got[i, :, :height, :width] - logits[0]).max() for i in range(2))
        side = 16 + 2 * margin
        small = session.run(None, {"image": image[:, :, :side, : side - 8]})[0]
        assert small.shape[2:] == (16, 8), small.shape
        fixed = folder / f"{name}_fixed.onnx"
        convert(programs, name, fixed, "--tile", side, "--outputs", "probabilities", *flags)
        session = onnxruntime.InferenceSession(str(fixed), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape[2:] == [side, side]
        assert session.get_outputs()[0].shape[2:] == [16, 16]
        shares = session.run(None, {"image": image[:, :, :side, :side]})[0]
        if logits.shape[1] > 1:
            error = max(error, np.abs(shares.sum(1) - 1).max())
        assert 0 <= shares.min() and shares.max() <= 1
        print(f"{name}: ONNX Runtime within {error:.1e}")
        assert error < TOLERANCE, name


def check_strict(programs, folder):
    import torch

    sys.path.insert(0, str(TESTS.parent / "benchmarks"))
    import torch_unet

    for name, options in NETWORKS.items():
        options = dict(options)
        kind = getattr(torch_unet, options.pop("kind", "UNet"))
        out = folder / f"{name}.safetensors"
        convert(programs, name, out)
        state = {key: torch.from_numpy(value.copy()) for key, value in read_safetensors(out).items()}
        kind(**options).load_state_dict(state, strict=True)
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
