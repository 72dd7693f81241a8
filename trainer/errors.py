"""What can go wrong by a user's doing, and the exit code of each kind.

Every message says what was found, what was expected and what to type next.
"""

import errno
import tempfile

LONGEST = 2_000  # characters of a message


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


def abridged(message: str) -> str:
    """A message that quotes much, without its middle: what was found stands at its begin, what to type at its end."""
    half = LONGEST // 2
    return message if len(message) <= LONGEST else f"{message[:half]} … {message[-half:]}"


# No room: the disk is full, the quota is used up, or a file may not become so large.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def of_file(error: OSError) -> str:
    """The message for a file that could not be used, where nothing that is nearer to it has one."""
    if error.filename is None:
        return (
            f"{error.strerror}: a file could not be written, and the system does not say which. Make room where the "
            f"output goes and in the folder for temporary files, {tempfile.gettempdir()} (TMPDIR names another)."
        )
    return f"can't use {error.filename}: {error.strerror}. Expected a path that can be, and room where it is written."
