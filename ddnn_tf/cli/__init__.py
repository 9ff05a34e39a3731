"""The `ddnn` command.

`app` trains, evaluates and exports, `search` looks for links, rates and plans, `partition` cuts and
`place` puts sections on machines; `desk` is what they share.
"""

from .app import main

__all__ = ["main"]
