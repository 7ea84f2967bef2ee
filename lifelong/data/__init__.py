"""Sources of images, splits into tasks, and the stream that serves them."""

from lifelong.data.feed import Fed, Feed
from lifelong.data.noisy_permuted import noisy_permuted
from lifelong.data.sequences import domains, folders, hf_domains, permuted, rotated, sequence, sets
from lifelong.data.splits import arrays, by_class, folder, hf, pairs
from lifelong.data.stream import TaskStream
from lifelong.data.task import Batch, Images, Task
from lifelong.data.unlabeled import HeldOut, unlabeled
from lifelong.data.visit import Visit

__all__ = [
    "Batch",
    "Fed",
    "Feed",
    "HeldOut",
    "Images",
    "Task",
    "TaskStream",
    "Visit",
    "arrays",
    "by_class",
    "domains",
    "folder",
    "folders",
    "hf",
    "hf_domains",
    "noisy_permuted",
    "pairs",
    "permuted",
    "rotated",
    "sequence",
    "sets",
    "unlabeled",
]
