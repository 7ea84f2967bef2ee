"""Residual networks for small images: TAG's reduced one, and the pre-activation ResNet-18."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones.backbone import Body

NARROW = 8  # with fewer channels oneDNN's strided 1 x 1 convolution breaks the process where the
# channels lie last in memory, of weights or of images (PyTorch 2.15, AVX2)


def laid_out(x: Tensor, width: int) -> Tensor:
    """Images (b, c, h, w) as a body of that width can take them: with the pixels last if narrow.

    A copy, because images of one channel count as laid out in either way.
    """
    return x.clone(memory_format=torch.contiguous_format) if width < NARROW else x


class Block(nn.Module):
    """One 3 x 3 convolution and a shortcut, each followed by ReLU, then batch-norm, then dropout.

    Args:
        inputs: channels.
        outputs: channels.
        stride: of the convolution; where stride or width change the shortcut is a 1 x 1
            convolution.
        dropout: probability of dropping an entry.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Sequential() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        )
        self.norm_sum = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = self.dropout(self.norm(F.relu(self.conv(x))))
        out: Tensor = self.dropout(self.norm_sum(F.relu(y + self.shortcut(x))))
        return out


class ReducedResNet(Body):
    """A 3 x 3 stem and four stages of two blocks, widths w, 2w, 4w, 8w; average pool 4 x 4.

    Weights start as PyTorch draws them.

    Args:
        shape: (c, h, w) of an image.
        width: w, channels of the stem and the first stage.
        dropout: probability of dropping an entry behind each batch-norm of a block.

    >>> import torch
    >>> body = ReducedResNet((3, 32, 32), width=4)
    >>> body(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 32])
    """

    def __init__(self, shape: Sequence[int], width: int = 20, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"backbone.dropout={dropout}: give a probability from 0 to below 1")
        channels, height, across = shape
        self.width = width
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        blocks, inputs = [], width
        for stage in range(4):
            outputs = width * 2**stage
            blocks += [
                Block(inputs, outputs, 1 if stage == 0 else 2, dropout),
                Block(outputs, outputs, 1, dropout),
            ]
            inputs = outputs
            if stage > 0:
                height, across = -(-height // 2), -(-across // 2)
        self.blocks = nn.Sequential(*blocks)
        self.features = inputs * (height // 4) * (across // 4)
        if not self.features:
            raise ValueError(
                f"data.shape={list(shape)}: images are too small for the reduced ResNet; give at "
                "least 25 x 25 pixels"
            )
        if width >= NARROW:
            self.to(memory_format=torch.channels_last)  # a third less time on the CPU

    def forward(self, x: Tensor) -> Tensor:  # (b, c, h, w) -> (b, f)
        h: Tensor = self.blocks(F.relu(self.norm(self.stem(laid_out(x, self.width)))))
        return F.avg_pool2d(h, 4).flatten(1)


class PreActivationBlock(nn.Module):
    """Batch-norm, ReLU and 3 x 3 convolution, twice; the shortcut begins behind the first ReLU.

    Args:
        inputs: channels.
        outputs: channels.
        stride: of the first convolution; where shapes change the shortcut is a 1 x 1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.norm1(x))
        y: Tensor = self.conv2(F.relu(self.norm2(self.conv1(a))))
        return y + (x if self.shortcut is None else self.shortcut(a))


class PreActivationResNet18(Body):
    """Pre-activation ResNet-18 for small images (He et al. 2016), as Lifelong Tickets has it.

    A 3 x 3 stem and four stages of two blocks of widths w, 2w, 4w, 8w; mean over all positions;
    no batch-norm or ReLU behind the last block. Weights start as PyTorch draws them.

    Args:
        shape: (c, h, w) of an image.
        width: w.

    >>> import torch
    >>> body = PreActivationResNet18((3, 32, 32), width=8)
    >>> body(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 64])
    """

    def __init__(self, shape: Sequence[int], width: int = 64) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"backbone.width={width}: give a whole number, 1 or more")
        self.stem = nn.Conv2d(shape[0], width, 3, padding=1, bias=False)
        blocks, inputs = [], width
        for stage in range(4):
            outputs = width * 2**stage
            blocks += [
                PreActivationBlock(inputs, outputs, 1 if stage == 0 else 2),
                PreActivationBlock(outputs, outputs, 1),
            ]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.features = inputs
        self.width = width
        if width >= NARROW:
            self.to(memory_format=torch.channels_last)  # a third less time on the CPU

    def forward(self, x: Tensor) -> Tensor:  # (b, c, h, w) -> (b, f)
        h: Tensor = self.blocks(self.stem(laid_out(x, self.width)))
        return h.mean((2, 3))
