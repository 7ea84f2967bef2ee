"""Whole networks: a body and heads."""

from lifelong.networks.heads import Head, Heads, MultiHead, SingleHead
from lifelong.networks.network import Independent, Network, TaskNetwork
from lifelong.networks.progressive import ProgressiveNetwork

__all__ = [
    "Head",
    "Heads",
    "Independent",
    "MultiHead",
    "Network",
    "ProgressiveNetwork",
    "SingleHead",
    "TaskNetwork",
]
