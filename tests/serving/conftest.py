from tests.inference.conftest import made

__all__ = ["made"]
