"""The U-Net in PyTorch, under the names that the bridge gives it."""

import torch
from torch import nn
from torch.nn import functional as F


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        pads = []
        for n in x.shape[:1:-1]:
            total = max((-(-n // self.stride) - 1) * self.stride + 3 - n, 0)
            pads += [total // 2, total - total // 2]
        return F.relu(self.norm(self.conv(F.pad(x, pads))))


class Twice(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.first, self.second = ConvNorm(inputs, outputs, stride), ConvNorm(outputs, outputs)

    def forward(self, x):
        return self.second(self.first(x))


class Encoder(nn.Module):
    def __init__(self, width, depth, stem_stride):
        super().__init__()
        self.widths = [width * 2**level for level in range(depth + 1)]
        for level, (inputs, outputs) in enumerate(zip([3, *self.widths], self.widths)):  # noqa: B905
            stride = 2 if level else stem_stride
            self.add_module(f"level_{level}", Twice(inputs, outputs, stride))

    def forward(self, x):
        maps = []
        for level in self.children():
            x = level(x)
            maps.append(x)
        return tuple(maps)


class Head(nn.Module):
    def __init__(self, widths, classes):
        super().__init__()
        for level, (fine, coarse) in enumerate(zip(widths, widths[1:])):  # noqa: B905
            self.add_module(f"level_{level}", Twice(fine + coarse, fine))
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, maps, size):
        *skips, x = maps
        for level in reversed(range(len(skips))):
            x = torch.cat([skips[level], resize(x, skips[level].shape[2:])], 1)
            x = getattr(self, f"level_{level}")(x)
        return resize(self.classifier(x), size)


def resize(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class TorchUNet(nn.Module):
    def __init__(self, classes, width=24, depth=3, stem_stride=1):
        super().__init__()
        self.encoder = Encoder(width, depth, stem_stride)
        self.head = Head(self.encoder.widths, classes)

    @property
    def backbone(self):
        return self.encoder

    def forward(self, x):
        return self.decode(self.encoder(x), x.shape[2:])

    def decode(self, maps, size):
        return self.head(maps, size)
