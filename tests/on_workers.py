"""What tests let worker processes do; here, so that these import nothing heavy."""

import os
import signal
import time
from pathlib import Path


def inverse(number: float) -> float:
    return 1 / number


def where(_) -> tuple:
    """The process, the GPUs that it sees, the threads of its libraries, and how much freed memory it may keep."""
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_")
    return os.getpid(), *map(os.environ.get, names)


def die_once(marker: str) -> str:
    """Killed at the first call for each marker, a file; the file's content at the second."""
    if not os.path.exists(marker):
        Path(marker).write_text("second call")
        os.kill(os.getpid(), signal.SIGKILL)
    return Path(marker).read_text()


def die(name: str) -> str:
    if name == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
