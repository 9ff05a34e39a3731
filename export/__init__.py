"""Cuts a trained Keras model into one artifact per node.

Takes any Keras model whose nested sub-models are named after the nodes of a topology and hold
their merges.
"""

from .bundle import export_bundle
from .compression import Budget, Compression
from .parity import ParityError
from .report import ExportReport

__all__ = ["Budget", "Compression", "ExportReport", "ParityError", "export_bundle"]
