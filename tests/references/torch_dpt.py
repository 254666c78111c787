"""UniMatch V2's network in PyTorch, from the papers and the published parameter names."""

import torch
from torch import nn
from torch.nn import functional as F


def resized(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class Scale(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.gamma * x


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        heads = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(2, 3) * (width // self.heads) ** -0.5, dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(x.shape))


class Perceptron(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.ls1, self.ls2 = Scale(width), Scale(width)
        self.attn, self.mlp = SelfAttention(width, heads), Perceptron(width)

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Backbone(nn.Module):
    """DINOv2; positions are resized by the factor (patches + 0.1) / grid."""

    def __init__(self, width, depth, heads, grid, patch):
        super().__init__()
        self.grid = grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid**2, width))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, width, patch, patch)
        self.blocks = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, 1e-6)

    def positions(self, height, width):
        square = self.pos_embed[:, 1:].view(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        if (height, width) != (self.grid, self.grid):
            factors = tuple((n + 0.1) / self.grid for n in (height, width))
            square = F.interpolate(square, scale_factor=factors, mode="bicubic")
        assert square.shape[2:] == (height, width)
        return square.flatten(2).transpose(1, 2)

    def forward(self, images, taps):
        x = self.patch_embed.proj(images)
        batch, channels, height, width = x.shape
        x = x.flatten(2).transpose(1, 2) + self.positions(height, width)
        token = (self.cls_token + self.pos_embed[:, :1]).expand(batch, -1, -1)
        x, found = torch.cat([token, x], dim=1), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in taps:
                tokens = self.norm(x)[:, 1:]
                found.append(tokens.transpose(1, 2).reshape(batch, channels, height, width))
        return found


class Unit(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x):
        return x + self.conv2(torch.relu(self.conv1(torch.relu(x))))


class Refine(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1, self.resConfUnit2 = Unit(features), Unit(features)

    def forward(self, x, skip, size):
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        return self.out_conv(resized(self.resConfUnit2(x), size))


class Head(nn.Module):
    def __init__(self, classes, width, features, levels):
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(width, channels, 1) for channels in levels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(levels[0], levels[0], 4, 4),
                nn.ConvTranspose2d(levels[1], levels[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(levels[3], levels[3], 3, 2, 1),
            ]
        )
        self.scratch = nn.Module()
        for i, channels in enumerate(levels, start=1):
            reduce = nn.Conv2d(channels, features, 3, padding=1, bias=False)
            self.scratch.add_module(f"layer{i}_rn", reduce)
            self.scratch.add_module(f"refinenet{i}", Refine(features))
        self.scratch.output_conv = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1), nn.ReLU(), nn.Conv2d(features, classes, 1)
        )

    def forward(self, maps, size):
        levels = []
        for i, x in enumerate(maps):
            x = self.resize_layers[i](self.projects[i](x))
            levels.append(getattr(self.scratch, f"layer{i + 1}_rn")(x))
        x = self.scratch.refinenet4(levels[3], None, levels[2].shape[2:])
        x = self.scratch.refinenet3(x, levels[2], levels[1].shape[2:])
        x = self.scratch.refinenet2(x, levels[1], levels[0].shape[2:])
        x = self.scratch.refinenet1(x, levels[0], [2 * side for side in levels[0].shape[2:]])
        return resized(self.scratch.output_conv(x), size)


class Network(nn.Module):
    """Images [B,3,H,W] → logits [B,C,H,W]; `vit` is a VitShape, `dpt` a DptShape."""

    def __init__(self, classes, vit, dpt):
        super().__init__()
        self.taps = vit.taps
        self.backbone = Backbone(vit.width, vit.depth, vit.heads, vit.grid, vit.patch)
        self.head = Head(classes, vit.width, dpt.features, dpt.levels)

    def forward(self, images):
        return self.head(self.backbone(images, self.taps), images.shape[2:])


def randomised(network, seed, deviation=0.2):
    """The network with every parameter and running statistic random, in float64."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: value
        if name.endswith("num_batches_tracked")
        else deviation * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        + (1.0 if name.endswith(("gamma", "lambda1", "running_var")) or _is_scale(name) else 0.0)
        for name, value in network.state_dict().items()
    }
    network = network.double()
    network.load_state_dict({k: v.abs() if k.endswith("var") else v for k, v in state.items()})
    return network


def _is_scale(name):
    *_, module, leaf = name.split(".") if "." in name else ("", name)
    return leaf == "weight" and "norm" in module
