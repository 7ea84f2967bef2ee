"""What sparse parts of similar tasks have in common is kept once (APD)."""

from __future__ import annotations

import numpy as np
import torch

from lifelong.transfer.additive import AdditiveTransferLayer


@torch.no_grad()
def join(layer: AdditiveTransferLayer, tasks: list[int], clusters: int, most: float) -> None:
    """Moves what the parts of similar tasks have in common into one tensor of the cluster.

    Clusters are those of k-means on the parts; an entry is common to a cluster of several tasks if
    its values there differ by less than `most`, and becomes their mean.
    """
    from sklearn.cluster import KMeans

    if len(tasks) <= clusters:
        return
    whole = torch.stack([layer.part(task).tau + layer.part(task).group for task in tasks])
    points = whole.flatten(1).double().cpu().numpy()
    labels = KMeans(clusters, max_iter=100, n_init=10, random_state=0).fit_predict(points)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        own = whole[torch.from_numpy(members)]
        common = own.amax(0) - own.amin(0) < most
        if len(members) == 1:
            common = torch.zeros_like(common)
        for row, member in enumerate(members):
            part = layer.part(tasks[member])
            part.group.copy_(torch.where(common, own.mean(0), 0.0))
            part.tau.copy_(torch.where(common, 0.0, own[row]))
