"""The ground floor: what a device carries, and what every other part counts with.

Imports numpy and msgspec; LiteRT, Zenoh and TensorFlow only where a node asks for them.
"""
