"""The nodes of a deployment, the links between them, and how probably each works."""

from .survival import Share, Survival, Uptime
from .topology import Group, Link, Node, Sensor, Topology

__all__ = ["Group", "Link", "Node", "Sensor", "Share", "Survival", "Topology", "Uptime"]
