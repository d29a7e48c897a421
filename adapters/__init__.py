"""Adapters: the only code that knows a product. One file per concern."""
