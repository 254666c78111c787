"""A norm and a linear classifier on the last map of an encoder, in PyTorch."""

from torch import nn
from torch.nn import functional as F


class Linear(nn.Module):
    """Images [B,3,H,W] → logits [B,C,H,W]; `encoder` returns transformers' `feature_maps`."""

    def __init__(self, encoder, width, classes):
        super().__init__()
        self.encoder = encoder
        self.head = nn.ModuleDict(
            {"input_norm": nn.BatchNorm2d(width), "classifier": nn.Conv2d(width, classes, 1)}
        )

    def forward(self, images):
        x = self.head["input_norm"](self.encoder(images).feature_maps[-1])
        logits = self.head["classifier"](x)
        return F.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)

    def names(self):
        """The state under the names of the bridge: those of the encoder have no prefix."""
        return {key.removeprefix("encoder."): value for key, value in self.state_dict().items()}
