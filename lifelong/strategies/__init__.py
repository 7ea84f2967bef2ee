"""Learning methods, one file each; the base is fine-tuning."""

from lifelong.strategies.joint import Joint
from lifelong.strategies.lasem import LASEM
from lifelong.strategies.strategy import Round, Strategy

__all__ = ["LASEM", "Joint", "Round", "Strategy"]
