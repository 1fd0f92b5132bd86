"""The UNet in PyTorch that ours is compared with; parameters are named as in milesial's UNet."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class DoubleConv(nn.Sequential):
    def __init__(self, cin, cout, mid, bias):
        layer = lambda a, b: [nn.Conv2d(a, b, 3, padding=1, bias=bias), nn.BatchNorm2d(b), nn.ReLU(True)]
        super().__init__(*layer(cin, mid), *layer(mid, cout))


class UNet(nn.Module):
    """The network whose parameter names are those of milesial's UNet."""

    def __init__(self, in_channels, classes, width, depth=4, bilinear=False, bias=False):
        super().__init__()
        self.depth, self.bilinear = depth, bilinear
        block = lambda cin, cout, mid=None: nn.ModuleDict(
            {"double_conv": DoubleConv(cin, cout, mid or cout, bias)})  # fmt: skip
        widths = [width << d for d in range(depth + 1)]
        shrink = 2 if bilinear else 1  # without a transposed convolution the blocks halve the channels
        self.inc = block(in_channels, width)
        for d in range(1, depth + 1):
            cout = widths[d] // (shrink if d == depth else 1)
            self.add_module(f"down{d}", nn.ModuleDict({"maxpool_conv": nn.ModuleList(
                [nn.MaxPool2d(2), block(widths[d - 1], cout)])}))  # fmt: skip
        for u in range(1, depth + 1):
            cin, skip = widths[depth - u + 1], widths[depth - u]
            cout = skip // (shrink if u < depth else 1)
            up = nn.ModuleDict({"conv": block(cin, cout, cin // 2 if bilinear else None)})
            if not bilinear:
                up["up"] = nn.ConvTranspose2d(cin, skip, 2, stride=2)
            self.add_module(f"up{u}", up)
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(width, classes, 1)})

    def forward(self, x):
        skips = [self.inc["double_conv"](x)]
        for d in range(1, self.depth + 1):
            pool, conv = getattr(self, f"down{d}")["maxpool_conv"]
            skips.append(conv["double_conv"](pool(skips[-1])))
        x = skips.pop()
        for u in range(1, self.depth + 1):
            up, skip = getattr(self, f"up{u}"), skips.pop()
            if self.bilinear:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            else:
                x = up["up"](x)
            dy, dx = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
            x = F.pad(x, (dx // 2, dx - dx // 2, dy // 2, dy - dy // 2))
            x = up["conv"]["double_conv"](torch.cat([skip, x], 1))
        return self.outc["conv"](x)
