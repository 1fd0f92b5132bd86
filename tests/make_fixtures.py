#!/usr/bin/env python3
"""Makes tests/fixtures/*.safetensors: what PyTorch answers, for the tests to compare with.

    python tests/make_fixtures.py [NAME...]        # needs torch, numpy and safetensors

What the files hold is told in fixture.py. The losses are the matter of make_loss_fixtures.py, whole
trainings that of make_parity.py.
"""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from fixture import IGNORE, Fixture, differentiate, f32, make, nhwc


def krsc_transposed(w):
    """PyTorch keeps transposed filters as (C, K, R, S)."""
    return w.permute(1, 2, 3, 0).contiguous()


def conv2d():
    f = Fixture("conv2d", 1)
    cases = [  # name, n, h, w, c, k, kernel, stride, pad, bias
        ("k3s1p1", 2, 7, 5, 4, 6, 3, 1, 1, True),
        ("k3s1p1_no_bias", 1, 8, 8, 3, 16, 3, 1, 1, False),
        ("k3s1p1_channels", 1, 6, 9, 17, 19, 3, 1, 1, False),
        ("k3s1p1_blocks", 1, 9, 18, 32, 16, 3, 1, 1, True),
        ("k3s1p0", 1, 7, 9, 2, 3, 3, 1, 0, True),
        ("k3s1p2", 2, 5, 4, 3, 2, 3, 1, 2, False),
        ("k3s2p1", 2, 9, 8, 3, 5, 3, 2, 1, True),
        ("k3s2p0", 1, 8, 7, 2, 2, 3, 2, 0, False),
        ("k1s1p0", 2, 5, 3, 7, 4, 1, 1, 0, True),
        ("k1s2p0", 1, 6, 5, 4, 3, 1, 2, 0, False),
        ("k1s1p1", 1, 3, 4, 2, 2, 1, 1, 1, True),
        ("k5s1p2", 1, 9, 7, 3, 4, 5, 1, 2, True),
        ("k5s2p1", 2, 8, 11, 2, 3, 5, 2, 1, False),
        ("one_pixel", 1, 1, 1, 5, 3, 3, 1, 1, True),
        ("one_pixel_k1", 1, 1, 1, 1, 1, 1, 1, 0, False),
        ("one_channel", 1, 5, 5, 1, 1, 3, 1, 1, True),
        ("one_row", 3, 1, 6, 2, 3, 3, 1, 1, False),
    ]
    for case, n, h, w, c, k, kernel, stride, pad, bias in cases:
        x, weight = f.randn(n, c, h, w), f.randn(k, c, kernel, kernel) / (c * kernel**2) ** 0.5
        inputs = [x, weight] + ([f.randn(k)] if bias else [])
        run = lambda x, w, b=None: F.conv2d(x, w, b, stride=stride, padding=pad)
        dy = f.randn(*run(*inputs).shape)
        y, dx, dw, *db = differentiate(run, inputs, dy)
        tensors = dict(x=nhwc(x), w=nhwc(weight), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx), dw=nhwc(dw))
        if bias:
            tensors |= dict(bias=inputs[2], dbias=db[0])
        f.add(case, tensors, stride=stride, pad=pad, bias=bias)
    f.save()


def conv_transpose2x2():
    f = Fixture("conv_transpose2x2", 2)
    cases = [
        ("plain", 2, 3, 4, 6, 3, True),
        ("no_bias", 1, 4, 3, 4, 2, False),
        ("channels", 1, 3, 5, 33, 17, True),
        ("blocks", 1, 4, 7, 32, 16, True),
        ("one_pixel", 1, 1, 1, 3, 2, True),
        ("one_channel", 1, 3, 3, 1, 1, True),
    ]
    for case, n, h, w, c, k, bias in cases:
        x, weight = f.randn(n, c, h, w), f.randn(c, k, 2, 2) / c**0.5
        inputs = [x, weight] + ([f.randn(k)] if bias else [])
        run = lambda x, w, b=None: F.conv_transpose2d(x, w, b, stride=2)
        dy = f.randn(n, k, 2 * h, 2 * w)
        y, dx, dw, *db = differentiate(run, inputs, dy)
        tensors = dict(x=nhwc(x), w=krsc_transposed(weight), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx),
                       dw=krsc_transposed(dw))  # fmt: skip
        if bias:
            tensors |= dict(bias=inputs[2], dbias=db[0])
        f.add(case, tensors, bias=bias)
    f.save()


def batch_norm():
    f = Fixture("batch_norm", 3)
    cases = [  # name, n, h, w, c, eps, momentum
        ("plain", 2, 4, 5, 6, 1e-5, 0.1),
        ("batch1_channels", 1, 5, 7, 17, 1e-5, 0.1),
        ("blocks", 2, 3, 3, 32, 1e-5, 0.1),
        ("one_channel", 1, 3, 3, 1, 1e-3, 0.3),
        ("one_pixel", 4, 1, 1, 3, 1e-5, 0.1),
    ]
    for case, n, h, w, c, eps, momentum in cases:
        x = 2 * f.randn(n, c, h, w) + f.randn(1, c, 1, 1)
        gamma, beta, dy = 1 + f.randn(c) / 4, f.randn(c), f.randn(n, c, h, w)
        before = f.randn(c), 0.5 + f.randn(c).abs()

        def run(x, gamma, beta, state=None):
            mean, var = state or (t.to(x.dtype, copy=True) for t in before)
            return F.batch_norm(x, mean, var, gamma, beta, True, f32(momentum), f32(eps))

        after = [t.double() for t in before]
        run(x.double(), gamma.double(), beta.double(), after)
        y, dx, dgamma, dbeta = differentiate(run, [x, gamma, beta], dy)
        var, mean = torch.var_mean(x.double(), (0, 2, 3), correction=0)
        tensors = dict(
            x=nhwc(x), gamma=gamma, beta=beta, y=nhwc(y), mean=mean, rstd=(var + f32(eps)).rsqrt(),
            running_mean=before[0], running_var=before[1], running_mean_after=after[0],
            running_var_after=after[1], dy=nhwc(dy), dx=nhwc(dx), dgamma=dgamma, dbeta=dbeta,
        )  # fmt: skip
        f.add(case, tensors, eps=eps, momentum=momentum)
    f.save()


def batch_norm_inference():
    f = Fixture("batch_norm_inference", 4)
    for case, n, h, w, c, eps in [("plain", 2, 4, 5, 6, 1e-5), ("channels", 1, 5, 7, 17, 1e-5),
                                  ("one_channel", 1, 3, 3, 1, 1e-3), ("one_pixel", 1, 1, 1, 3, 1e-5)]:  # fmt: skip
        x, gamma, beta = f.randn(n, c, h, w), 1 + f.randn(c) / 4, f.randn(c)
        mean, var = f.randn(c), 0.5 + f.randn(c).abs()
        double = [t.double() for t in (x, mean, var, gamma, beta)]
        y = F.batch_norm(*double, training=False, eps=f32(eps))
        f.add(case, dict(x=nhwc(x), gamma=gamma, beta=beta, mean=mean, var=var, y=nhwc(y)), eps=eps)
    f.save()


def pointwise():
    """ReLU, sigmoid and softmax over channels: one image in, one out."""
    functions = {"relu": F.relu, "sigmoid": torch.sigmoid, "softmax": lambda x: torch.softmax(x, 1)}
    cases = [("plain", 2, 3, 5, 4), ("channels", 1, 4, 3, 17), ("one_pixel", 1, 1, 1, 5),
             ("one_channel", 1, 3, 3, 1), ("large", 1, 2, 3, 3)]  # fmt: skip
    for seed, (op, function) in enumerate(functions.items()):
        f = Fixture(op, 10 + seed)
        for case, n, h, w, c in cases:
            x, dy = f.randn(n, c, h, w), f.randn(n, c, h, w)
            if case == "large":  # overflows a naive exp in f32
                x[..., 0] *= 200
            if op == "relu":
                x[:, :, 0, 0] = 0  # the gradient at the kink is 0
            y, dx = differentiate(function, [x], dy)
            f.add(case, dict(x=nhwc(x), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx)))
        f.save()


def maxpool2x2():
    f = Fixture("maxpool2x2", 20)
    cases = [("even", 2, 4, 6, 3), ("odd", 1, 5, 7, 4), ("odd_rows", 1, 3, 4, 17),
             ("smallest", 1, 2, 2, 1), ("ties", 2, 6, 6, 16)]  # fmt: skip
    for case, n, h, w, c in cases:
        x, dy = f.randn(n, c, h, w), f.randn(n, c, h // 2, w // 2)
        if case == "ties":  # as after a ReLU: many windows hold equal maxima, the first one wins
            x = x.round().clamp(min=0)
        y, dx = differentiate(lambda x: F.max_pool2d(x, 2), [x], dy)
        _, index = F.max_pool2d(x, 2, return_indices=True)
        argmax = (index // w % 2 * 2 + index % w % 2).to(torch.uint8)
        f.add(case, dict(x=nhwc(x), y=nhwc(y), argmax=nhwc(argmax), dy=nhwc(dy), dx=nhwc(dx)))
    f.save()


def resize_bilinear():
    f = Fixture("resize_bilinear", 21)
    sizes = [("plain", 2, 4, 5, 3), ("odd", 1, 3, 7, 17), ("one_pixel", 1, 1, 1, 4),
             ("one_row", 1, 1, 3, 2), ("one_channel", 1, 3, 3, 1)]  # fmt: skip
    for aligned in (True, False):
        run = lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=aligned)
        for size, n, h, w, c in sizes:
            x, dy = f.randn(n, c, h, w), f.randn(n, c, 2 * h, 2 * w)
            y, dx = differentiate(run, [x], dy)
            case = f"{size}_{'aligned' if aligned else 'unaligned'}"
            f.add(case, dict(x=nhwc(x), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx)), align_corners=aligned)
    for name, n, h, w, c, size in [("odd_skip", 2, 4, 6, 3, (5, 7)), ("blocks", 1, 6, 2, 17, (7, 3)),
                                   ("shrink", 1, 7, 9, 2, (5, 8)), ("mixed", 1, 5, 3, 16, (9, 1)),
                                   ("same", 1, 3, 4, 1, (3, 4))]:  # fmt: skip
        for aligned in (True, False):
            run = lambda x: F.interpolate(x, size=size, mode="bilinear", align_corners=aligned)
            x, dy = f.randn(n, c, h, w), f.randn(n, c, *size)
            y, dx = differentiate(run, [x], dy)
            case = f"{name}_{'aligned' if aligned else 'unaligned'}"
            f.add(case, dict(x=nhwc(x), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx)), align_corners=aligned)
    f.save()


def philox(counter, stream, seed):
    """Philox 4x32-10 as in engine/base/rng.h: the blocks `counter` (u64 array) -> (count, 4) u32."""
    low = np.uint64(0xFFFFFFFF)
    split = lambda v: (np.uint64(v) & low, np.uint64(v) >> np.uint64(32))
    c = [counter & low, counter >> np.uint64(32), *(np.full_like(counter, p) for p in split(stream))]
    k0, k1 = split(seed)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> np.uint64(32)) ^ c[1] ^ k0, p1 & low, (p0 >> np.uint64(32)) ^ c[3] ^ k1, p0 & low]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack(c, 1).astype(np.uint32)


def dropout_mask(shape, rate, seed, batch):
    """What an image (n, c, h, w) is multiplied by: 0 or 1 / (1 - rate), as engine/op/dropout.h draws it."""
    n, c, h, w = shape
    groups = (c + 3) // 4
    pixel, group = np.meshgrid(np.arange(n * h * w, dtype=np.uint64), np.arange(groups, dtype=np.uint64),
                               indexing="ij")  # fmt: skip
    words = philox((group | pixel << np.uint64(32)).ravel(), batch, seed).reshape(n, h, w, 4 * groups)
    kept = (words[..., :c] >> np.uint32(8)) >= f32(rate) * 2**24
    scale = np.float32(1) / (np.float32(1) - np.float32(rate))
    return torch.from_numpy(kept * scale).permute(0, 3, 1, 2)


def dropout():
    f = Fixture("dropout", 26)
    cases = [("half", 2, 3, 4, 6, 0.5, 5, 9), ("blocks", 1, 5, 3, 33, 0.3, 2**40 + 1, 2**33 + 5),
             ("packs", 1, 2, 3, 32, 0.9, 0, 0), ("one", 1, 1, 1, 1, 0.25, 3, 1),
             ("none", 1, 2, 2, 4, 0.0, 1, 2)]  # fmt: skip
    for case, n, h, w, c, rate, seed, batch in cases:
        x, dy = f.randn(n, c, h, w), f.randn(n, c, h, w)
        mask = dropout_mask(x.shape, rate, seed, batch).double()
        y, dx = differentiate(lambda x: x * mask.to(x.dtype), [x], dy)
        f.add(case, dict(x=nhwc(x), batch=torch.tensor([batch]), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx)),
              rate=f32(rate), seed=seed)  # fmt: skip
    f.save()


def shape_ops():
    f = Fixture("concat_channels", 22)
    for case, n, h, w, ca, cb in [("plain", 2, 3, 4, 3, 5), ("blocks", 1, 2, 3, 16, 32),
                                  ("unaligned", 1, 3, 3, 17, 4), ("one", 1, 1, 1, 1, 1)]:  # fmt: skip
        a, b, dy = f.randn(n, ca, h, w), f.randn(n, cb, h, w), f.randn(n, ca + cb, h, w)
        y, da, db = differentiate(lambda a, b: torch.cat([a, b], 1), [a, b], dy)
        f.add(case, dict(a=nhwc(a), b=nhwc(b), y=nhwc(y), dy=nhwc(dy), da=nhwc(da), db=nhwc(db)))
    f.save()

    f = Fixture("pad2d", 23)
    for case, n, h, w, c, pads in [("pad", 2, 3, 4, 3, (1, 2, 0, 3)), ("crop", 1, 6, 5, 17, (-1, -2, -2, 0)),
                                   ("both", 1, 4, 5, 2, (-1, 1, 2, -3)), ("none", 1, 3, 2, 1, (0, 0, 0, 0)),
                                   ("one_pixel", 1, 1, 1, 3, (0, 1, 1, 0))]:  # fmt: skip
        top, bottom, left, right = pads
        run = lambda x: F.pad(x, (left, right, top, bottom))
        x = f.randn(n, c, h, w)
        dy = f.randn(*run(x).shape)
        y, dx = differentiate(run, [x], dy)
        f.add(case, dict(x=nhwc(x), y=nhwc(y), dy=nhwc(dy), dx=nhwc(dx)),
              top=top, bottom=bottom, left=left, right=right)  # fmt: skip
    f.save()


def classify():
    """Classes and a confusion matrix that begins with counts; a single channel is a logit."""
    f = Fixture("classify", 28)
    for case, n, h, w, c, ignored in [("plain", 2, 4, 5, 3, 0.0), ("ignore", 1, 7, 6, 4, 0.3),
                                      ("one_channel", 2, 5, 3, 1, 0.2), ("channels", 1, 6, 5, 17, 0.1),
                                      ("one_pixel", 1, 1, 1, 2, 0.0)]:  # fmt: skip
        k = max(c, 2)
        values, labels = f.randn(n, c, h, w), f.labels(n, h, w, k, ignored)
        classes = (values[:, 0] > 0).long() if c == 1 else values.argmax(1)
        valid = labels != IGNORE
        before = torch.randint(0, 5, (k, k), generator=f.generator)
        cells = labels[valid] * k + classes[valid]
        counts = before + torch.bincount(cells, minlength=k * k).reshape(k, k)
        f.add(case, dict(values=nhwc(values), labels=labels[..., None].byte(),
                         classes=classes[..., None].byte(), counts_before=before, counts=counts))  # fmt: skip
    f.save()


def probability_counts():
    """Claims above a threshold, and confidence against truth in 15 bins (engine/op/classify.h)."""
    f = Fixture("probability_counts", 31)
    for case, n, h, w, c, ignored, threshold in [
        ("plain", 2, 4, 5, 3, 0.0, 0.5), ("ignore", 1, 7, 6, 4, 0.3, 0.75), ("one_channel", 2, 5, 3, 1, 0.2, 0.75),
        ("channels", 1, 6, 5, 17, 0.1, 0.125), ("one_pixel", 1, 1, 1, 2, 0.0, 0.5)]:  # fmt: skip
        k = max(c, 2)
        logits, labels = 2 * f.randn(n, c, h, w), f.labels(n, h, w, k, ignored)
        values = logits.sigmoid() if c == 1 else logits.softmax(1)
        valid = labels != IGNORE
        shares = torch.cat([1 - values, values], 1) if c == 1 else values
        shares, truth = shares.permute(0, 2, 3, 1)[valid], labels[valid]
        claimed = shares > threshold
        hit = claimed & (truth[:, None] == torch.arange(k))
        confidence, found = shares.max(1)
        bins = (confidence * 15).long().clamp(max=14)
        sums = torch.zeros(15, 3, dtype=torch.long)
        sums.index_add_(0, bins, torch.stack([torch.ones_like(bins), (found == truth).long(),
                                              (confidence * 2**24).long()], 1))  # fmt: skip
        counts = torch.cat([claimed.sum(0), hit.sum(0), sums.flatten()])
        before = torch.randint(0, 5, counts.shape, generator=f.generator)
        f.add(case, dict(values=nhwc(values), labels=labels[..., None].byte(), counts_before=before,
                         counts=before + counts), threshold=threshold)  # fmt: skip
    f.save()


def optimizers():
    """Fifty steps with the gradients `grads`; row t of `params` follows step t, row 0 is the start; the
    states follow the last step."""
    f = Fixture("optimizers", 26)
    adam = dict(lr=1e-3, weight_decay=0.01, beta1=0.9, beta2=0.999, eps=1e-8)
    sgd = dict(lr=0.01, weight_decay=0.0, momentum=0.0, nesterov=False)
    rmsprop = dict(lr=1e-3, weight_decay=0.0, alpha=0.99, eps=1e-8, momentum=0.0)
    cases = [
        ("adamw", torch.optim.AdamW, adam | dict(amsgrad=False)),
        ("adamw_no_decay", torch.optim.AdamW, adam | dict(lr=0.1, weight_decay=0.0, amsgrad=False)),
        ("adamw_all_set", torch.optim.AdamW,
         dict(lr=0.02, weight_decay=0.3, beta1=0.8, beta2=0.95, eps=1e-6, amsgrad=False)),
        ("adamw_amsgrad", torch.optim.AdamW, adam | dict(eps=1e-6, amsgrad=True)),
        ("adam", torch.optim.Adam, adam | dict(weight_decay=0.0, amsgrad=False)),
        ("adam_decay", torch.optim.Adam, adam | dict(weight_decay=0.1, amsgrad=False)),
        ("adam_amsgrad", torch.optim.Adam, adam | dict(amsgrad=True)),
        ("sgd", torch.optim.SGD, sgd),
        ("sgd_momentum", torch.optim.SGD, sgd | dict(momentum=0.9, weight_decay=0.01)),
        ("sgd_nesterov", torch.optim.SGD, sgd | dict(momentum=0.99, weight_decay=3e-5, nesterov=True)),
        ("rmsprop", torch.optim.RMSprop, rmsprop),
        ("rmsprop_momentum", torch.optim.RMSprop, rmsprop | dict(momentum=0.999, weight_decay=1e-8)),
        ("rmsprop_all_set", torch.optim.RMSprop,
         dict(lr=0.01, weight_decay=0.005, alpha=0.9, eps=1e-6, momentum=0.65)),
        ("adamw_one_cycle", torch.optim.AdamW, adam | dict(lr=0.01, amsgrad=False)),
    ]  # fmt: skip
    names = dict(exp_avg="m", exp_avg_sq="v", max_exp_avg_sq="largest", square_avg="v",
                 momentum_buffer="velocity")  # fmt: skip
    steps, count = 50, 21
    for case, optimizer_class, a in cases:
        grads = f.randn(steps, count) * 10 ** torch.linspace(-2, 2, count)
        param = nn.Parameter(f.randn(count).double())
        settings = {k: v if isinstance(v, bool) else f32(v) for k, v in a.items()}
        if "beta1" in settings:
            settings["betas"] = settings.pop("beta1"), settings.pop("beta2")
        optimizer = optimizer_class([param], **settings)
        params = [param.detach().clone()]
        cycle, course = None, {}
        if case.endswith("one_cycle"):
            cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["lr"], steps)
            course = dict(rates=torch.zeros(steps).double(), momenta=torch.zeros(steps).double())
        for t, grad in enumerate(grads):
            param.grad = grad.double()
            if cycle:
                group = optimizer.param_groups[0]
                course["rates"][t], course["momenta"][t] = group["lr"], group["betas"][0]
            optimizer.step()
            if cycle and t + 1 < steps:
                cycle.step()
            params.append(param.detach().clone())
        states = {names[k]: v for k, v in optimizer.state[param].items() if k in names and v is not None}
        f.add(case, dict(grads=grads, params=torch.stack(params), **course, **states), **a)
    f.save()


def clip_grad_norm():
    f = Fixture("clip_grad_norm", 27)
    for case, count, scale, max_norm in [("above", 1000, 3.0, 1.0), ("below", 50, 0.01, 1.0),
                                         ("zero", 8, 0.0, 1.0), ("other_limit", 33, 1.0, 12.0)]:  # fmt: skip
        grad = scale * f.randn(count)
        param = nn.Parameter(torch.zeros(count, dtype=torch.float64))
        param.grad = grad.double()
        norm = nn.utils.clip_grad_norm_([param], max_norm)
        f.add(case, dict(x=grad, norm=norm.reshape(1), clipped=param.grad), max_norm=max_norm)
    f.save()


def schedules():
    """Learning rates of steps 0 to 49, all from a rate of 0.1, and for plateau the scores that led there."""
    f = Fixture("schedules", 28)
    steps, lr = 50, 0.1
    s = torch.optim.lr_scheduler
    cases = [
        ("cosine", dict(final_lr_ratio=0.01),
         lambda o: s.CosineAnnealingLR(o, steps, eta_min=0.01 * lr)),
        ("step", dict(step_every=15, gamma=0.3), lambda o: s.StepLR(o, 15, 0.3)),
        ("polynomial", dict(power=0.9), lambda o: s.PolynomialLR(o, steps, 0.9)),
        ("polynomial_square", dict(power=2.0), lambda o: s.PolynomialLR(o, steps, 2.0)),
        ("linear", dict(final_lr_ratio=0.2), lambda o: s.LinearLR(o, 1.0, 0.2, steps)),
        ("one_cycle", dict(rise=0.3, div_factor=25.0, final_div_factor=1e4),
         lambda o: s.OneCycleLR(o, lr, steps, pct_start=0.3)),
        ("one_cycle_all_set",
         dict(rise=0.1, div_factor=10.0, final_div_factor=100.0, low_momentum=0.8, high_momentum=0.9),
         lambda o: s.OneCycleLR(o, lr, steps, pct_start=0.1, div_factor=10, final_div_factor=100,
                                base_momentum=0.8, max_momentum=0.9)),
    ]  # fmt: skip
    for case, a, make in cases:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr, momentum=0.7)
        scheduler = make(optimizer)
        rates, momenta = [], []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            momenta.append(optimizer.param_groups[0]["momentum"])
            optimizer.step()
            if len(rates) < steps:
                scheduler.step()
        f.add(case, dict(rates=torch.tensor(rates, dtype=torch.float64),
                         momenta=torch.tensor(momenta, dtype=torch.float64)), **a)  # fmt: skip
    # Of the mean IoU, which is to grow, and of the loss, which is to fall.
    scores = (torch.linspace(0, 3, steps).tanh() + 0.1 * f.randn(steps)).double()
    for case, mode, patience, factor in [("plateau", "max", 2, 0.5), ("plateau_at_once", "max", 0, 0.1),
                                         ("plateau_of_loss", "min", 3, 0.3)]:  # fmt: skip
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr)
        scheduler = s.ReduceLROnPlateau(optimizer, mode, factor, patience)
        judged = scores.clone() if mode == "max" else 2 - scores
        rates = []
        for score in judged:
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step(score.item())
        f.add(case, dict(rates=torch.tensor(rates, dtype=torch.float64), scores=judged),
              patience=patience, factor=factor, falling=mode == "min")  # fmt: skip
    f.save()


if __name__ == "__main__":
    make([conv2d, conv_transpose2x2, batch_norm, batch_norm_inference, pointwise, maxpool2x2, resize_bilinear,
          dropout, shape_ops, classify, probability_counts, optimizers, clip_grad_norm, schedules])  # fmt: skip
