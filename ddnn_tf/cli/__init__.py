"""The `ddnn` command.

`app` trains, evaluates and exports, `search` looks for links, rates and plans, `partition` cuts,
`place` puts sections on machines and `compress` says how to make them smaller; `options` is
what they share.
"""

from .app import main as main
