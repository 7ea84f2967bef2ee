"""Sources of images, splits into tasks, and the stream that serves them."""

from lifelong.data.altered import altered
from lifelong.data.feed import Fed, Feed
from lifelong.data.splits import by_class, folder
from lifelong.data.stream import TaskStream
from lifelong.data.task import Batch, Images, Task
from lifelong.data.unlabeled import HeldOut, unlabeled
from lifelong.data.visit import Visit
from lifelong.data.whole import folders, permuted, rotated, sequence

__all__ = [
    "Batch",
    "Fed",
    "Feed",
    "HeldOut",
    "Images",
    "Task",
    "TaskStream",
    "Visit",
    "altered",
    "by_class",
    "folder",
    "folders",
    "permuted",
    "rotated",
    "sequence",
    "unlabeled",
]
