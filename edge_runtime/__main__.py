"""`python -m edge_runtime` is `ddnn-edge`, where no script is installed."""

import sys

from .cli import main

sys.exit(main())
