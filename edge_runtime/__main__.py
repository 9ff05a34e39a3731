"""`python -m edge_runtime` is `ddnn-edge`, where no script is installed."""

from .cli.main import main
from .process.command import end_with


def program() -> None:
    """Run the command of this process's arguments, and end the process with its exit code."""
    end_with(main)


if __name__ == "__main__":
    program()
