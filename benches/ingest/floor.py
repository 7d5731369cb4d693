"""What the disk's own syncs allow, without any receiver: measured in the same rounds as the receivers.

`file` is what any honest receiver must do for each object: write, fsync, rename, fsync the directory.
`append` is what any database must do for each commit: append a page to a log, fdatasync.
"""

import itertools
import os
import threading
import time

PAGE = bytes(4096)
FILES = 120
APPENDS = 200


def files(directory, threads, data):
    """Files a second, by that many threads."""
    directory.mkdir()
    numbers, lock = iter(range(FILES)), threading.Lock()

    def work():
        folder = os.open(directory, os.O_RDONLY)
        while True:
            with lock:
                n = next(numbers, None)
            if n is None:
                os.close(folder)
                return
            staged = directory / f"{n}.staged"
            file = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(file, data)
            os.fsync(file)
            os.close(file)
            os.rename(staged, directory / str(n))
            os.fsync(folder)

    return FILES / timed(work, threads)


def appends(directory):
    """Commits a second, one after the other, to one log that has its length already, as a write-ahead log has."""
    directory.mkdir()
    log = os.open(directory / "log", os.O_RDWR | os.O_CREAT, 0o600)
    os.pwrite(log, PAGE * APPENDS, 0)
    os.fsync(log)

    def work():
        for n in range(APPENDS):
            os.pwrite(log, PAGE, n * len(PAGE))
            os.fdatasync(log)

    rate = APPENDS / timed(work, 1)
    os.close(log)
    return rate


def timed(work, threads):
    running = [threading.Thread(target=work) for _ in itertools.repeat(None, threads)]
    begun = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return time.perf_counter() - begun
