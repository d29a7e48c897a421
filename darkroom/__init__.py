"""Darkroom develops images out of noise: the library behind the pipeline, free of any orchestration product."""

__version__ = "0.1.0"
