#!/usr/bin/env python3
"""Makes the fixtures of the losses, as make_fixtures.py does those of the other operations.

    python tests/make_loss_fixtures.py [NAME...]        # needs torch and safetensors
"""

import torch
import torch.nn.functional as F
from fixture import IGNORE, Fixture, differentiate, f32, make, nhwc


def add_loss(f, case, loss, logits, labels, weights, name, **attributes):
    """`loss` is a function of (logits, weights or None)."""
    run = lambda z: loss(z, None if weights is None else weights.to(z.dtype)).reshape(1)
    value, dlogits = differentiate(run, [logits], torch.ones(1))
    tensors = dict(logits=nhwc(logits), labels=labels.to(torch.uint8).unsqueeze(-1), loss=value,
                   dlogits=nhwc(dlogits))  # fmt: skip
    f.add(case, tensors | ({} if weights is None else {name: weights}), **attributes)


def bce_with_logits():
    """One channel: the label is the target. Several: channel c's target is label == c."""
    f = Fixture("bce_with_logits", 24)
    cases = [  # name, n, h, w, c, share of ignored pixels, pos_weight
        ("binary", 2, 4, 5, 1, 0.0, None),
        ("binary_weight_ignore", 2, 5, 5, 1, 0.3, [3.5]),
        ("one_hot", 2, 3, 4, 4, 0.0, None),
        ("one_hot_weight_ignore", 2, 5, 7, 4, 0.25, [1.192, 1.486, 1.657, 11.05]),
        ("one_pixel", 1, 1, 1, 3, 0.0, None),
        ("large", 1, 3, 4, 2, 0.2, [0.5, 2.0]),
    ]
    for case, n, h, w, c, ignored, pos_weight in cases:
        logits, labels = f.randn(n, c, h, w), f.labels(n, h, w, max(c, 2), ignored)
        if case == "large":
            logits *= 100
        valid = labels != IGNORE
        index = labels.clamp(max=max(c, 2) - 1)
        target = index.unsqueeze(1) if c == 1 else F.one_hot(index, c).permute(0, 3, 1, 2)

        def loss(z, w):
            pick = lambda t: t.permute(0, 2, 3, 1)[valid]  # (valid pixels, channels)
            return F.binary_cross_entropy_with_logits(pick(z), pick(target).to(z.dtype), pos_weight=w)

        weights = None if pos_weight is None else torch.tensor(pos_weight)
        add_loss(f, case, loss, logits, labels, weights, "pos_weight")
    f.save()


def cross_entropy():
    f = Fixture("cross_entropy", 25)
    cases = [
        ("plain", 2, 4, 5, 3, 0.0, None),
        ("ignore", 2, 5, 5, 2, 0.3, None),
        ("weights_ignore", 2, 5, 7, 4, 0.25, [0.25, 1.5, 3.0, 0.7]),
        ("channels", 1, 3, 4, 17, 0.1, None),
        ("zero_weight", 1, 4, 4, 3, 0.0, [1.0, 0.0, 2.0]),
        ("one_pixel", 1, 1, 1, 2, 0.0, None),
        ("large", 1, 3, 4, 3, 0.2, None),
        ("smoothed", 2, 5, 5, 3, 0.2, None),
        ("smoothed_weights", 2, 5, 7, 4, 0.25, [0.25, 1.5, 3.0, 0.7]),
    ]
    for case, n, h, w, c, ignored, class_weights in cases:
        logits, labels = f.randn(n, c, h, w), f.labels(n, h, w, c, ignored)
        if case == "large":
            logits *= 100
        smoothing = 0.125 if case.startswith("smoothed") else 0.0
        loss = lambda z, w: F.cross_entropy(
            z, labels, weight=w, ignore_index=IGNORE, label_smoothing=smoothing)  # fmt: skip
        weights = None if class_weights is None else torch.tensor(class_weights)
        add_loss(f, case, loss, logits, labels, weights, "weights", smoothing=smoothing)
    f.save()


def focal(z, labels, weights, gamma, sigmoid):
    """Focal loss in both forms, over the pixels with a label, as the means of the plain ones are."""
    valid = labels != IGNORE
    c = z.shape[1]
    z, t = z.permute(0, 2, 3, 1)[valid], labels[valid]
    w = torch.ones(c, dtype=z.dtype) if weights is None else weights
    if sigmoid:
        hit = t[:, None] == torch.arange(c)
        away = torch.where(hit, -z, z)
        loss = away.sigmoid() ** gamma * F.softplus(away)
        return (torch.where(hit, w, torch.ones_like(w)) * loss).mean()
    p = z.softmax(1).gather(1, t[:, None])[:, 0]
    return (w[t] * (1 - p) ** gamma * -p.log()).sum() / w[t].sum()


def focal_loss():
    f = Fixture("focal_loss", 29)
    for case, c, gamma, ignored, class_weights, sigmoid in [
        ("softmax", 3, 2.0, 0.0, None, False),
        ("softmax_weights", 4, 2.0, 0.25, [0.25, 1.5, 3.0, 0.7], False),
        ("softmax_half", 5, 0.5, 0.1, None, False),
        ("sigmoid", 3, 2.0, 0.2, None, True),
        ("sigmoid_weights", 4, 1.5, 0.1, [2.0, 0.5, 1.0, 9.0], True),
    ]:  # fmt: skip
        logits, labels = 2 * f.randn(2, c, 5, 4), f.labels(2, 5, 4, c, ignored)
        loss = lambda z, w: focal(z, labels, w, gamma, sigmoid)
        weights = None if class_weights is None else torch.tensor(class_weights)
        add_loss(f, case, loss, logits, labels, weights, "pos_weight" if sigmoid else "weights",
                 gamma=gamma, sigmoid=sigmoid)  # fmt: skip
    f.save()


def tversky(z, labels, weights=None, alpha=0.5, beta=0.5, smooth=1.0, sigmoid=False):
    """Soft Tversky loss of the whole batch, mean over the classes that have a valid pixel."""
    c = z.shape[1]
    lone = sigmoid and c == 1  # the label is the target
    classes = torch.arange(1, 2) if lone else torch.arange(c)
    valid = labels < (2 if lone else c)
    p = (z.sigmoid() if sigmoid else z.softmax(1)).permute(0, 2, 3, 1)[valid]
    t = (labels[valid].unsqueeze(1) == classes).to(z.dtype)
    tp, fp, fn = (p * t).sum(0), (p * (1 - t)).sum(0), ((1 - p) * t).sum(0)
    index = (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)
    weights = torch.ones(c, dtype=z.dtype) if weights is None else weights
    there = t.sum(0) > 0
    return ((1 - index) * weights)[there].sum() / weights[there].sum()


def tversky_loss():
    f = Fixture("tversky_loss", 28)
    defaults = dict(alpha=0.5, beta=0.5, smooth=1.0, factor=1.0, sigmoid=False)
    cases = [  # name, n, h, w, c, classes that labels show, share of ignored pixels, weights, attributes
        ("dice", 2, 4, 5, 3, 3, 0.0, None, {}),
        ("tversky", 2, 5, 5, 4, 4, 0.3, None, dict(alpha=0.3, beta=0.7)),
        ("weights_factor", 2, 5, 7, 4, 4, 0.25, [0.25, 1.5, 0.0, 0.7], dict(factor=0.4)),
        ("absent", 2, 4, 3, 5, 2, 0.2, [1.0, 2.0, 3.0, 4.0, 5.0], dict(smooth=0.0)),
        ("channels", 2, 5, 6, 17, 17, 0.1, None, dict(alpha=1.0, beta=1.0)),
        ("one_pixel", 1, 1, 1, 2, 2, 0.0, None, {}),
        ("large", 1, 3, 4, 3, 3, 0.2, None, {}),
        ("binary", 2, 4, 5, 1, 2, 0.2, None, dict(sigmoid=True)),
        ("one_hot", 2, 4, 5, 4, 3, 0.2, [1.0, 0.5, 2.0, 4.0], dict(sigmoid=True, alpha=0.2, beta=0.8)),
    ]
    for case, n, h, w, c, classes, ignored, class_weights, attributes in cases:
        a = {k: v if k == "sigmoid" else f32(v) for k, v in (defaults | attributes).items()}
        logits, labels = f.randn(n, c, h, w), f.labels(n, h, w, classes, ignored)
        if case == "large":
            logits *= 10
        loss = lambda z, w: a["factor"] * tversky(
            z, labels, w, a["alpha"], a["beta"], a["smooth"], a["sigmoid"])  # fmt: skip
        weights = None if class_weights is None else torch.tensor(class_weights)
        add_loss(f, case, loss, logits, labels, weights, "weights", **a)
    f.save()


def image_means(values, targets):
    """By image with a valid pixel: the mean error over its valid pixels."""
    valid = ~targets.isnan()
    errors = torch.where(valid, values - targets.nan_to_num().to(values.dtype), 0)
    there = valid.sum((1, 2, 3)) > 0
    return errors.sum((1, 2, 3))[there] / valid.sum((1, 2, 3))[there]


def squared(v, t):
    return F.mse_loss(v[~t.isnan()], t[~t.isnan()].to(v.dtype))


def absolute(v, t):
    return F.l1_loss(v[~t.isnan()], t[~t.isnan()].to(v.dtype))


def mass(v, t):
    return image_means(v, t).square().mean()


NORMS = [squared, absolute, mass]  # RegressionLoss::Norm


def error_sums(values, targets):
    """ImageErrors of engine/op/regression.h, a row for each image."""
    rows = []
    for v, t in zip(values.double(), targets.double()):
        e, t = (v - t)[~t.isnan()], t[~t.isnan()]
        rows.append([len(t), e.sum(), e.abs().sum(), e.square().sum(), t.sum(), t.square().sum()])
    return torch.tensor(rows, dtype=torch.float64)


def regression_loss():
    f = Fixture("regression_loss", 32)
    cases = [  # name, n, h, w, share of ignored pixels, images without a target, factor
        ("plain", 2, 4, 5, 0.0, [], 1.0),
        ("ignore", 3, 5, 7, 0.3, [], 1.0),
        ("empty_image", 4, 3, 9, 0.2, [0, 2], 0.3),
        ("equal", 2, 4, 4, 0.1, [], 1.0),
        ("large", 2, 3, 4, 0.2, [1], 1.0),
        ("one_pixel", 1, 1, 1, 0.0, [], 1.0),
    ]
    for case, n, h, w, ignored, empty, factor in cases:
        values, targets = f.randn(n, 1, h, w), 3 * f.randn(n, 1, h, w) + 1
        if case == "equal":  # |e| has a kink there, where its gradient is 0
            targets[:, :, ::2] = values[:, :, ::2]
        if case == "large":
            values *= 1000
        targets[torch.rand(n, 1, h, w, generator=f.generator) < ignored] = torch.nan
        targets[empty] = torch.nan
        sums = error_sums(values, targets)[:, None, None, :]
        for norm, loss in enumerate(NORMS):
            run = lambda v: f32(factor) * loss(v, targets).reshape(1)
            value, dvalues = differentiate(run, [values], torch.ones(1))
            f.add(f"{case}_{loss.__name__}",
                  dict(values=nhwc(values), targets=nhwc(targets), sums=sums, loss=value, dvalues=nhwc(dvalues)),
                  norm=norm, factor=f32(factor))  # fmt: skip
    f.save()


def loss_steps():
    """Fifty steps of plain gradient descent on filter `w` and bias `b` of a 1x1 convolution of `x`, with
    each loss: `losses` holds the loss before each of them. What the losses are is told again in
    tests/test_loss_steps.cpp."""
    f = Fixture("loss_steps", 33)
    n, h, w, bands, classes, steps = 3, 6, 7, 5, 4, 50
    x, labels = f.randn(n, bands, h, w), f.labels(n, h, w, classes, 0.15)
    binary = torch.where(labels == IGNORE, labels, labels % 2)
    weights = torch.tensor([0.25, 1.5, 3.0, 0.75])
    targets = torch.randn(n, 1, h, w, generator=f.generator) + x[:, :1] - 0.5
    targets[torch.rand(n, 1, h, w, generator=f.generator) < 0.15] = torch.nan
    targets[1] = torch.nan

    def bce(z, y, pos_weight=None):
        z, y = z.permute(0, 2, 3, 1)[y != IGNORE], y[y != IGNORE]
        t = y[:, None] if z.shape[1] == 1 else F.one_hot(y, z.shape[1])
        pos_weight = None if pos_weight is None else pos_weight.to(z.dtype)
        return F.binary_cross_entropy_with_logits(z, t.to(z.dtype), pos_weight=pos_weight)

    def cross_entropy(z, weight=None, **options):
        weight = None if weight is None else weight.to(z.dtype)
        return F.cross_entropy(z, labels, weight, ignore_index=IGNORE, **options)

    cases = [  # name, channels, rate, loss
        ("cross_entropy", classes, 0.25, cross_entropy),
        ("cross_entropy_weighted", classes, 0.25, lambda z: cross_entropy(z, weights)),
        ("cross_entropy_smoothed", classes, 0.25, lambda z: cross_entropy(z, label_smoothing=0.125)),
        ("cross_entropy_focal", classes, 0.25, lambda z: focal(z, labels, None, 2, False)),
        ("bce", 1, 0.25, lambda z: bce(z, binary)),
        ("bce_weighted", classes, 0.25, lambda z: bce(z, labels, weights)),
        ("bce_focal", classes, 0.25, lambda z: focal(z, labels, None, 2, True)),
        ("dice", classes, 4.0, lambda z: tversky(z, labels)),
        ("tversky", classes, 4.0, lambda z: tversky(z, labels, weights.to(z.dtype), 0.25, 0.75)),
        ("overlap", classes, 0.25, lambda z: cross_entropy(z) + 0.5 * tversky(z, labels)),
        ("squared", 1, 0.03125, lambda z: squared(z, targets)),
        ("absolute", 1, 0.03125, lambda z: absolute(z, targets)),
        ("mass", 1, 0.03125, lambda z: mass(z, targets)),
        ("regression", 1, 0.03125,
         lambda z: squared(z, targets) + 0.5 * mass(z, targets) + 0.25 * absolute(z, targets)),
    ]  # fmt: skip
    for case, channels, rate, loss in cases:
        start = [f.randn(channels, bands, 1, 1), f.randn(channels)]
        courses = []
        for dtype in (torch.float64, torch.float32):
            params = [p.to(dtype).requires_grad_() for p in start]
            course = []
            for _ in range(steps):
                value = loss(F.conv2d(x.to(dtype), *params))
                course.append(value.item())
                grads = torch.autograd.grad(value, params)
                params = [(p - rate * g).detach().requires_grad_() for p, g in zip(params, grads)]
            courses.append(torch.tensor(course, dtype=torch.float64))
        exact, single = courses
        assert exact[-1] < 0.9 * exact[0] and ((single / exact - 1).abs() < 5e-6).all(), case
        given = dict(labels=(binary if case == "bce" else labels)[..., None].byte())
        if case in ("squared", "absolute", "mass", "regression"):
            given = dict(targets=nhwc(targets))
        if case in ("cross_entropy_weighted", "bce_weighted", "tversky"):
            given |= dict(weights=weights)
        f.add(case, dict(x=nhwc(x), w=nhwc(start[0]), b=start[1], losses=exact, **given),
              rate=rate)  # fmt: skip
    f.save()


if __name__ == "__main__":
    make([bce_with_logits, cross_entropy, tversky_loss, focal_loss, regression_loss, loss_steps])
