"""The gap between mean confidence and accuracy."""

from lifelong import Measure


class Overconfidence(Measure):
    def __init__(self):
        self.gap, self.count = 0.0, 0

    def update(self, prediction, target):
        right = prediction.answer() == target
        self.gap += float((prediction.confidence() - right.float()).sum())
        self.count += len(target)

    def compute(self):
        return self.gap / self.count
