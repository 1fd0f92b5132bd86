"""The networks in PyTorch that ours are compared with, with the parameter names of the originals."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Sequential):
    """3x3 convolutions to the widths of `couts`, each with batch norm, if any, and ReLU."""

    def __init__(self, cin, *couts, bias=False, norm=True, padding=1, stride=1):
        layers = []
        for cout in couts:
            layers += [nn.Conv2d(cin, cout, 3, stride=stride, padding=padding, bias=bias)]
            layers += [nn.BatchNorm2d(cout)] * norm + [nn.ReLU(True)]
            cin, stride = cout, 1
        super().__init__(*layers)


def centred(x, height, width):
    """Padded, or cropped where it is larger: half of the difference before, the rest behind."""
    dy, dx = height - x.shape[2], width - x.shape[3]
    before = lambda d: int(d / 2)
    return F.pad(x, (before(dx), dx - before(dx), before(dy), dy - before(dy)))


class UNet(nn.Module):
    """The network whose parameter names are those of milesial's UNet. Without padding (`valid`) the skips
    are cropped; `drop` is applied to what the deepest level yields."""

    def __init__(self, in_channels, classes, width, depth=4, bilinear=False, bias=False, norm=True, valid=False,
                 single=False):  # fmt: skip
        super().__init__()
        self.depth, self.bilinear, self.valid = depth, bilinear, valid
        self.kind, self.drop = "single_conv" if single else "double_conv", None
        options = dict(bias=bias, norm=norm, padding=0 if valid else 1)
        block = lambda cin, cout, mid=None: nn.ModuleDict(
            {self.kind: Block(cin, *([] if single else [mid or cout]), cout, **options)})  # fmt: skip
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
        skips = [self.inc[self.kind](x)]
        for d in range(1, self.depth + 1):
            pool, conv = getattr(self, f"down{d}")["maxpool_conv"]
            skips.append(conv[self.kind](pool(skips[-1])))
        x = skips.pop()
        if self.drop is not None:
            x = self.drop(x)
        for u in range(1, self.depth + 1):
            up, skip = getattr(self, f"up{u}"), skips.pop()
            if self.bilinear:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            else:
                x = up["up"](x)
            if self.valid:
                skip = centred(skip, *x.shape[2:])
            else:
                x = centred(x, *skip.shape[2:])
            x = up["conv"][self.kind](torch.cat([skip, x], 1))
        return self.outc["conv"](x)


class ListedUNet(nn.Module):
    """The network whose parameter names are those of aladdinpersson's UNet: the doubled map is resized to the
    size of its skip."""

    def __init__(self, in_channels, classes, width, depth=4):
        super().__init__()
        widths = [width << d for d in range(depth + 1)]
        block = lambda cin, cout: nn.ModuleDict({"conv": Block(cin, cout, cout)})
        self.ups = nn.ModuleList()
        for cin, cout in zip(widths[:0:-1], widths[-2::-1]):
            self.ups += [nn.ConvTranspose2d(cin, cout, 2, stride=2), block(cin, cout)]
        self.downs = nn.ModuleList(block(*pair) for pair in zip([in_channels, *widths], widths[:-1]))
        self.bottleneck = block(widths[-2], widths[-1])
        self.final_conv = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for down in self.downs:
            skips.append(down["conv"](x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottleneck["conv"](x)
        for up, conv in zip(self.ups[::2], self.ups[1::2]):
            x, skip = up(x), skips.pop()
            if x.shape[2:] != skip.shape[2:]:
                x = F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False)
            x = conv["conv"](torch.cat([skip, x], 1))
        return self.final_conv(x)


class EncoderDecoder(nn.Module):
    """Strided convolutions down, interpolation up, no skips and nothing but the last layer at full size."""

    def __init__(self, in_channels, classes, width, depth=1, bias=True):
        super().__init__()
        self.depth = depth
        widths = [in_channels] + [width << d for d in range(depth)]
        for d in range(1, depth + 1):
            block = Block(widths[d - 1], widths[d], bias=bias, stride=2)
            self.add_module(f"encoder{d}", nn.ModuleDict({"conv": nn.ModuleDict({"single_conv": block})}))
        for u in range(1, depth):
            block = Block(widths[depth - u + 1], widths[depth - u], bias=bias)
            self.add_module(f"decoder{u}", nn.ModuleDict({"conv": nn.ModuleDict({"single_conv": block})}))
        self.outc = nn.ModuleDict({"conv": nn.Conv2d(width, classes, 1)})

    def forward(self, x):
        sizes = []
        for d in range(1, self.depth + 1):
            sizes.append(x.shape[2:])
            x = getattr(self, f"encoder{d}")["conv"]["single_conv"](x)
        for u in range(1, self.depth + 1):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = centred(x, *sizes.pop())
            if u < self.depth:
                x = getattr(self, f"decoder{u}")["conv"]["single_conv"](x)
        return self.outc["conv"](x)
