"""The one error a user can mend."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message says what was expected, what came, where, and what to do. The commands print it as
    one line and end with exit code 2; every other exception is a fault of ours and keeps its
    traceback.
    """
