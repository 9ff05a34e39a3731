"""What is chosen by name; apart, because the command line must not wait for TensorFlow."""

from typing import Literal

__all__ = ["Merge", "Method", "SectionName"]

#: `baseline`: primary links only. `residual`: all links. `dropout`: all links, and nodes and links
#: fail in training.
Method = Literal["baseline", "residual", "dropout"]

#: The ready-made sets of sections, see `ddnn_tf.sections`.
SectionName = Literal["conv", "fc32"]

#: How a section hears residual links: `add`, beside the primary ones; `multiplexer`, only where
#: the primary ones that they go round do not deliver.
Merge = Literal["add", "multiplexer"]
