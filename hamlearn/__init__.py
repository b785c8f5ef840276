"""HamLearning: hierarchical aligned multimodal learning for NER on tweet posts."""

__version__ = "0.1.0"
