"""What a process holds: threads, file descriptors, memory."""

from __future__ import annotations

import os
import subprocess
import sys


def threads() -> int:
    """Threads of this process as the system counts them."""
    if os.path.isdir("/proc/self/task"):
        return len(os.listdir("/proc/self/task"))
    if sys.platform == "darwin":
        listed = subprocess.run(["ps", "-M", str(os.getpid())], capture_output=True, text=True, check=True)
        return len(listed.stdout.splitlines()) - 1
    import threading

    return threading.active_count()


def descriptors() -> int:
    """Open file descriptors of this process; 0 where the system does not tell."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if os.path.isdir(folder):
            return len(os.listdir(folder))
    return 0


def resident() -> float:
    """Resident memory of this process, in MB; 0 where the system does not tell."""
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    if os.name == "posix":
        told = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True
        )
        return int(told.stdout) * 1024 / 1e6
    return 0.0


def raise_descriptor_limit() -> int:
    """Lets this process open as many files as it may. Returns how many."""
    try:
        import resource
    except ImportError:
        return 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    except (ValueError, OSError):
        return soft
    return hard
