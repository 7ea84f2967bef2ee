"""Data sets: functions that return uint8 images, labels and class names."""

from lifelong.data.sources.cifar100 import cifar100
from lifelong.data.sources.digits import digits
from lifelong.data.sources.folder import image_folder
from lifelong.data.sources.office_home import office_home
from lifelong.data.sources.source import Source
from lifelong.data.sources.stl10 import stl10

__all__ = ["Source", "cifar100", "digits", "image_folder", "office_home", "stl10"]
