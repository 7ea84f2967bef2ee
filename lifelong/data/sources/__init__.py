"""Data sets: functions that return uint8 images, labels and class names."""

from lifelong.data.sources.arrays import array_file, from_arrays
from lifelong.data.sources.cifar import cifar10, cifar100, cifar_swap
from lifelong.data.sources.cub import cub
from lifelong.data.sources.datasets import materialize, torchvision_set
from lifelong.data.sources.digits import digits
from lifelong.data.sources.folder import image_folder
from lifelong.data.sources.hugging_face import hugging_face, hugging_face_domains
from lifelong.data.sources.mini_imagenet import mini_imagenet
from lifelong.data.sources.mnist import fashion_mnist, mnist, notmnist
from lifelong.data.sources.named import NAMED, named
from lifelong.data.sources.office_home import office_home
from lifelong.data.sources.source import Source
from lifelong.data.sources.stl10 import stl10, stl10_unlabeled
from lifelong.data.sources.svhn import svhn
from lifelong.data.sources.tiny_imagenet import tiny_imagenet

__all__ = [
    "NAMED",
    "Source",
    "array_file",
    "cifar10",
    "cifar100",
    "cifar_swap",
    "cub",
    "digits",
    "fashion_mnist",
    "from_arrays",
    "hugging_face",
    "hugging_face_domains",
    "image_folder",
    "materialize",
    "mini_imagenet",
    "mnist",
    "named",
    "notmnist",
    "office_home",
    "stl10",
    "stl10_unlabeled",
    "svhn",
    "tiny_imagenet",
    "torchvision_set",
]
