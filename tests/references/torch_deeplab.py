"""DeepLabV3+ on a dilated ResNet in PyTorch, written from the papers, under UniMatch V1's names."""

import torch
from torch import nn
from torch.nn import functional as F


def conv_norm(inputs, outputs, kernel, stride=1, dilation=1):
    pad = (kernel - 1) * dilation // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, pad, dilation, bias=False)
    return conv, nn.BatchNorm2d(outputs)


class Residual(nn.Module):
    """conv1, bn1, conv2, … of (kernel, width, stride, dilation) each, and a shortcut."""

    def __init__(self, inputs, convs):
        super().__init__()
        self.count, width = len(convs), inputs
        for i, (kernel, outputs, stride, dilation) in enumerate(convs, 1):
            conv, norm = conv_norm(width, outputs, kernel, stride, dilation)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", norm)
            width = outputs
        stride = max(conv[2] for conv in convs)
        if stride > 1 or inputs != width:
            self.downsample = nn.Sequential(*conv_norm(inputs, width, 1, stride))

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.count else y
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def residual(kind, inputs, width, stride, before, after):
    """`before`: dilation of the convolution with the stride; `after`: of the following ones."""
    if kind == "basic":
        return Residual(inputs, [(3, width, stride, before), (3, width, 1, after)])
    return Residual(inputs, [(1, width, 1, 1), (3, width, stride, before), (1, 4 * width, 1, 1)])


class ResNet(nn.Module):
    def __init__(self, kind, blocks, stem, output_stride, grid=None, width=64):
        super().__init__()
        if stem == "plain":
            self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
            inputs = width
        else:
            self.conv1 = nn.Sequential(
                *conv_norm(3, 64, 3, 2), nn.ReLU(), *conv_norm(64, 64, 3), nn.ReLU()
            )
            last, self.bn1 = conv_norm(64, 128, 3)
            self.conv1.append(last)
            inputs = 128
        # Output stride 16 keeps the strides of layers 2 and 3, 8 that of layer 2.
        dilations = {32: (1, 1, 1, 1), 16: (1, 1, 1, 2), 8: (1, 1, 2, 4)}[output_stride]
        for i, count in enumerate(blocks):
            factors = grid if grid and i == 3 else (1,) * count
            old, new = dilations[max(i - 1, 0)], dilations[i]
            stride = 2 if i and old == new else 1
            layer = []
            for j, factor in enumerate(factors):
                before = factor * (new if j else old)
                outputs = width * 2**i
                block = residual(kind, inputs, outputs, 1 if j else stride, before, new * factor)
                layer.append(block)
                inputs = outputs * (1 if kind == "basic" else 4)
            setattr(self, f"layer{i + 1}", nn.Sequential(*layer))
        self.widths = inputs // 8, inputs

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        low = self.layer1(x)
        return low, self.layer4(self.layer3(self.layer2(low)))


class Pooled(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        pool = nn.AdaptiveAvgPool2d(1)
        self.gap = nn.Sequential(pool, *conv_norm(inputs, outputs, 1), nn.ReLU())

    def forward(self, x):
        return self.gap(x).expand(-1, -1, *x.shape[2:])


class Pyramid(nn.Module):
    def __init__(self, inputs, outputs, rates):
        super().__init__()
        self.b0 = nn.Sequential(*conv_norm(inputs, outputs, 1), nn.ReLU())
        for i, rate in enumerate(rates, 1):
            branch = nn.Sequential(*conv_norm(inputs, outputs, 3, 1, rate), nn.ReLU())
            setattr(self, f"b{i}", branch)
        self.b4 = Pooled(inputs, outputs)
        self.project = nn.Sequential(*conv_norm(5 * outputs, outputs, 1), nn.ReLU())

    def forward(self, x):
        return self.project(torch.cat([getattr(self, f"b{i}")(x) for i in range(5)], 1))


class TorchDeepLab(nn.Module):
    def __init__(self, backbone, classes, rates=(6, 12, 18), channels=256, low_channels=48):
        super().__init__()
        self.backbone = backbone
        low, high = backbone.widths
        self.head = Pyramid(high, channels, rates)
        self.reduce = nn.Sequential(*conv_norm(low, low_channels, 1), nn.ReLU())
        self.fuse = nn.Sequential(
            *conv_norm(low_channels + channels, channels, 3),
            nn.ReLU(),
            *conv_norm(channels, channels, 3),
            nn.ReLU(),
        )
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x):
        return self.decode(self.backbone(x), x.shape[2:])

    def decode(self, features, size):
        def resize(y, size):
            return F.interpolate(y, size, mode="bilinear", align_corners=True)

        low, high = features
        y = torch.cat([self.reduce(low), resize(self.head(high), low.shape[2:])], 1)
        return resize(self.classifier(self.fuse(y)), size)


def randomised(network, seed):
    """`network` in float64, with statistics and weights of batch norm that are not 0 and 1."""
    torch.manual_seed(seed)
    for module in network.double().modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 1.0)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    # The network was made before the seed was set.
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.5)
        elif isinstance(module, nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.normal_(module.bias, std=0.1)
    return network
