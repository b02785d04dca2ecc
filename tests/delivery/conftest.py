"""The engines, cards and signals of the separator's tests."""

from tests.separation.conftest import make_card, make_low_high, make_passthrough, noise

__all__ = ["make_card", "make_low_high", "make_passthrough", "noise"]
