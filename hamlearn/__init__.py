"""HamLearning: hierarchical aligned multimodal learning for named entity recognition on tweet posts."""

__version__ = "0.1.0"
