"""The receivers: how each is started, what it costs, and what it has kept.

Every receiver gets an empty directory on the same file system, is told to take PDUs of 128 KiB, has TCP_NODELAY set, and
is killed (SIGKILL) after the last response: what it has promised must be there all the same.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

from . import sender

START_TIMEOUT_S = 60
TICKS = os.sysconf("SC_CLK_TCK")


class Peer:
    """A receiver that is started, sent to, and killed. `durable` says what a success means on its disk."""

    name = called = durable = ""

    def __init__(self, directory, associations):
        self.directory, self.port = directory, free_port()
        directory.mkdir(parents=True)
        self.log = (directory / "log").open("wb")
        environment = {**os.environ, "TCP_NODELAY": "1"}
        self.process = subprocess.Popen(
            [str(part) for part in self.command(associations)], cwd=directory,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment,
        )
        self.wait_for_port()

    def wait_for_port(self):
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"{self.name} does not listen: {(self.directory / 'log').read_text()[-2000:]}")

    def cpu_s(self):
        """User and system time so far, of the process, its children, and those that it has reaped."""
        return sum(cpu_ticks(pid) for pid in tree(self.process.pid)) / TICKS

    def peak_mib(self):
        """The most memory that was resident; of several processes the sum, which counts shared pages more than once."""
        return sum(peak_kib(pid) for pid in tree(self.process.pid)) / 1024

    def kill(self):
        for pid in reversed(tree(self.process.pid)):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.log.close()

    def kept(self):
        """The digests of the pixels of every file that is kept."""
        return [d for d in map(pixels, self.files()) if d]


class Pericard(Peer):
    name, called = "pericard", "PERICARD"
    durable = "file and directory fsynced, index and audit log committed and synced"
    program = pathlib.Path("pericard")

    def command(self, _associations):
        config = self.directory / "pericard.toml"
        config.write_text(
            f'[appliance]\ndata_dir = "{self.directory / "data"}"\nlog_level = "warn"\n'
            f'[https]\nlisten = "127.0.0.1:{free_port()}"\n'
            f'[dicom]\nlisten = "127.0.0.1:{self.port}"\nunlisted_peers = "loopback"\n'
            "[storage]\nfree_space_floor_mib = 1024\n"
        )
        return [self.program, "serve", "--config", config]

    def files(self):
        return (self.directory / "data/objects").glob("[0-9]*/*.dcm")

    @classmethod
    def version(cls):
        return first_line([cls.program, "--version"])


class Orthanc(Peer):
    name, called = "orthanc", "ORTHANC"
    durable = "file synced; index not synced at commit (its default)"

    def command(self, associations):
        config = self.directory / "orthanc.json"
        config.write_text(json.dumps({
            "Name": "bench", "DicomAet": self.called, "DicomPort": self.port, "HttpServerEnabled": False,
            "StorageDirectory": str(self.directory / "data"), "IndexDirectory": str(self.directory / "data"),
            "SyncStorageArea": True, "DicomThreadsCount": max(4, associations),
            "MaximumPduLength": sender.PDU_BYTES, "Plugins": [],
        }))
        return [which("Orthanc"), config]

    def files(self):
        return (f for f in (self.directory / "data").glob("??/??/*") if f.is_file())

    @classmethod
    def version(cls):
        return first_line([which("Orthanc"), "--version"])


class Storescp(Peer):
    name, called = "storescp", "STORESCP"
    durable = "nothing synced, no index"

    def command(self, _associations):
        (self.directory / "data").mkdir()
        return [which("storescp"), "--fork", "+B", "-aet", self.called, "-pdu", sender.PDU_BYTES,
                "-od", self.directory / "data", self.port]

    def files(self):
        return (self.directory / "data").iterdir()

    @classmethod
    def version(cls):
        return first_line([which("storescp"), "--version"])


class DicomRs(Peer):
    name, called = "dicom-rs", "DICOMRS"
    durable = "nothing synced, no index"
    program = pathlib.Path("dicom-storescp")

    def command(self, _associations):
        (self.directory / "data").mkdir()
        return [self.program, "--non-blocking", "--calling-ae-title", self.called, "-m", sender.PDU_BYTES,
                "-o", self.directory / "data", "-p", self.port]

    def files(self):
        return (self.directory / "data").iterdir()

    @classmethod
    def version(cls):
        return first_line([cls.program, "--version"])


def which(program):
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not found:
        raise SystemExit(f"{program} is not installed; `cargo xtask peers` installs it")
    return found


def first_line(command):
    printed = subprocess.run([str(c) for c in command], capture_output=True, text=True).stdout
    # DCMTK puts dollars around it, and Orthanc the folder that it lies in.
    return re.sub(r"\$|^\S*/", "", printed.splitlines()[0]).strip() if printed else "unknown"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pixels(path):
    """Digest of the last bytes of a file, where an uncompressed CT has its pixels."""
    if path.stat().st_size < sender.PIXEL_BYTES:
        return None
    with path.open("rb") as file:
        file.seek(-sender.PIXEL_BYTES, os.SEEK_END)
        return hashlib.sha256(file.read()).digest()


def tree(pid):
    """A process and its descendants, zombies too."""
    children = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def cpu_ticks(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))


def peak_kib(pid):
    try:
        found = re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0
