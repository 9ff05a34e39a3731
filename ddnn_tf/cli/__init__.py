"""The `ddnn` command.

`app` trains, evaluates and exports, `search` looks for links, rates and plans, `partition` cuts,
`place` puts sections on machines and `compress` says how to make them smaller; `options` are the
words that they share, and `loader` is how all of them read and talk.
"""

from .app import main as main
