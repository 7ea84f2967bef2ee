"""Data sets: functions that return uint8 images, labels and class names."""

from lifelong.data.sources.cifar100 import cifar100
from lifelong.data.sources.digits import digits
from lifelong.data.sources.folder import image_folder
from lifelong.data.sources.source import Source

__all__ = ["Source", "cifar100", "digits", "image_folder"]
