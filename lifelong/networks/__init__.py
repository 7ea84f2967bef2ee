"""Whole networks: a body and heads."""

from lifelong.networks.channel_gated import ChannelGatedNetwork
from lifelong.networks.expandable import ExpandableNetwork
from lifelong.networks.heads import (
    Head,
    Heads,
    IncrementalHead,
    MultiHead,
    OutputMatrix,
    SingleHead,
    by_task,
)
from lifelong.networks.network import Independent, Network, TaskNetwork
from lifelong.networks.progressive import ProgressiveNetwork
from lifelong.networks.two_branches import TwoBranchNetwork

__all__ = [
    "ChannelGatedNetwork",
    "ExpandableNetwork",
    "Head",
    "Heads",
    "IncrementalHead",
    "Independent",
    "MultiHead",
    "Network",
    "OutputMatrix",
    "ProgressiveNetwork",
    "SingleHead",
    "TaskNetwork",
    "TwoBranchNetwork",
    "by_task",
]
