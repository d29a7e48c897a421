"""Inception-v3 as the published FID uses it (Szegedy et al. 2015, arXiv 1512.00567; Heusel et al. 2017, arXiv 1706.08500).

Not the Inception that classifies: the network of December 2015, whose average pools do not count the padding, whose last block
pools by maximum, and whose input is resized as TensorFlow 1 did. Parts are named as in the weights file.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

SIDE = 299
Shape = int | tuple[int, int]


class Convolution(nn.Module):
    """Convolution, batch norm, rectifier. Padding keeps the size unless `stride` is 2."""

    def __init__(self, inside: int, outside: int, kernel: Shape = 1, stride: int = 1, padded: bool = True) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded and stride == 1 else (0, 0)
        self.conv = nn.Conv2d(inside, outside, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outside, eps=0.001)

    def forward(self, images: Tensor) -> Tensor:
        """[n, inside, h, w] -> [n, outside, ...]"""
        return relu(self.bn(self.conv(images)), inplace=True)


def _average(images: Tensor) -> Tensor:
    return avg_pool2d(images, 3, 1, 1, count_include_pad=False)


class Mixed35(nn.Module):
    """Mixed_5b to 5d, at 35 x 35."""

    def __init__(self, inside: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inside, 64)
        self.branch5x5_1, self.branch5x5_2 = Convolution(inside, 48), Convolution(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Convolution(inside, 64), Convolution(64, 96, 3)
        self.branch3x3dbl_3 = Convolution(96, 96, 3)
        self.branch_pool = Convolution(inside, pooled)

    def forward(self, images: Tensor) -> Tensor:
        """[n, inside, 35, 35] -> [n, 224 + pooled, 35, 35]"""
        five = self.branch5x5_2(self.branch5x5_1(images))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(images)))
        return torch.cat([self.branch1x1(images), five, three, self.branch_pool(_average(images))], 1)


class Halved35(nn.Module):
    """Mixed_6a: from 35 x 35 to 17 x 17."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inside, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Convolution(inside, 64), Convolution(64, 96, 3)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, 2)

    def forward(self, images: Tensor) -> Tensor:
        """[n, inside, 35, 35] -> [n, 480 + inside, 17, 17]"""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(images)))
        return torch.cat([self.branch3x3(images), double, max_pool2d(images, 3, 2)], 1)


class Mixed17(nn.Module):
    """Mixed_6b to 6e, at 17 x 17."""

    def __init__(self, inside: int, between: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inside, 192)
        self.branch7x7_1, self.branch7x7_2 = Convolution(inside, between), Convolution(between, between, (1, 7))
        self.branch7x7_3 = Convolution(between, 192, (7, 1))
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Convolution(inside, between), Convolution(between, between, (7, 1))
        self.branch7x7dbl_3, self.branch7x7dbl_4 = (Convolution(between, between, sides) for sides in ((1, 7), (7, 1)))
        self.branch7x7dbl_5 = Convolution(between, 192, (1, 7))
        self.branch_pool = Convolution(inside, 192)

    def forward(self, images: Tensor) -> Tensor:
        """[n, inside, 17, 17] -> [n, 768, 17, 17]"""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(images)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(images)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(images), seven, double, self.branch_pool(_average(images))], 1)


class Halved17(nn.Module):
    """Mixed_7a: from 17 x 17 to 8 x 8."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Convolution(inside, 192), Convolution(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Convolution(inside, 192), Convolution(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = Convolution(192, 192, (7, 1)), Convolution(192, 192, 3, 2)

    def forward(self, images: Tensor) -> Tensor:
        """[n, inside, 17, 17] -> [n, 512 + inside, 8, 8]"""
        three = self.branch3x3_2(self.branch3x3_1(images))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(images))))
        return torch.cat([three, seven, max_pool2d(images, 3, 2)], 1)


class Mixed8(nn.Module):
    """Mixed_7b and 7c, at 8 x 8; the second pools by maximum."""

    def __init__(self, inside: int, by_maximum: bool) -> None:
        super().__init__()
        self.by_maximum = by_maximum
        self.branch1x1 = Convolution(inside, 320)
        self.branch3x3_1 = Convolution(inside, 384)
        self.branch3x3_2a, self.branch3x3_2b = Convolution(384, 384, (1, 3)), Convolution(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Convolution(inside, 448), Convolution(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Convolution(384, 384, (1, 3)), Convolution(384, 384, (3, 1))
        self.branch_pool = Convolution(inside, 192)

    def forward(self, images: Tensor) -> Tensor:
        """[n, inside, 8, 8] -> [n, 2048, 8, 8]"""
        three = self.branch3x3_1(images)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(images))
        pooled = max_pool2d(images, 3, 1, 1) if self.by_maximum else _average(images)
        parts = [self.branch1x1(images), self.branch3x3_2a(three), self.branch3x3_2b(three)]
        parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """Images, 0 to 255, of any size, to the 2,048 features of the last pool."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, 2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3, padded=False)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3)
        self.Conv2d_3b_1x1 = Convolution(64, 80)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3, padded=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = Mixed35(192, 32), Mixed35(256, 64), Mixed35(288, 64)
        self.Mixed_6a = Halved35(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (Mixed17(768, between) for between in (128, 160, 160, 192))
        self.Mixed_7a = Halved17(768)
        self.Mixed_7b, self.Mixed_7c = Mixed8(1280, by_maximum=False), Mixed8(2048, by_maximum=True)
        self.fc = nn.Linear(2048, 1008)  # in the weights file; no feature passes it

    def forward(self, images: Tensor) -> Tensor:
        """[n, 3, h, w] -> [n, 2048]"""
        sized = (resized(images, SIDE) - 128) / 128
        early = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(sized)))
        found = max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(max_pool2d(early, 3, 2))), 3, 2)
        parts: list[nn.Module] = [self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c]
        parts += [self.Mixed_6d, self.Mixed_6e, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c]
        for part in parts:
            found = part(found)
        return found.mean((2, 3))


def resized(images: Tensor, side: int) -> Tensor:
    """Bilinear, as TensorFlow 1 had it: pixel i is taken at i * (old / new). [n, c, h, w] -> [n, c, side, side]"""
    rows, columns = (_weights(old, side).to(images) for old in images.shape[2:])
    return rows @ images @ columns.T


def _weights(old: int, new: int) -> Tensor:
    places = torch.arange(new, dtype=torch.float32) * (old / new)
    before = places.long().clamp(max=old - 1)
    after = (before + 1).clamp(max=old - 1)
    share = (places - before)[:, None]
    whole = torch.eye(old)
    return whole[before] * (1 - share) + whole[after] * share
