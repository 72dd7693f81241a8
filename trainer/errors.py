"""What can go wrong by a user's doing, and the exit code of each kind.

Every message says what was found, what was expected and what to type next.
"""


class TrainerError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code = 1


class UsageError(TrainerError):
    """Wrong usage, configuration or data."""

    exit_code = 2


class TeacherError(TrainerError):
    """The served teacher can't be reached, or can't do what was asked of it."""

    exit_code = 3


class Stopped(TrainerError):
    """Stopped on request (SIGINT or SIGTERM); what is needed to go on has been saved."""

    exit_code = 4
