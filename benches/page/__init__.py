"""What a page of figures says beside them: what ran, on what machine, and whether a goal was reached."""

import datetime
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What the appliance gives its workers; the peer and the ceiling have it too."""
INSTRUCTIONS = ("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def stamp(threads, peers=(), load=(), tunables=LARGE_PAGES["GLIBC_TUNABLES"]):
    """What ran where. `peers`: their versions as they tell them; `load`: the load averages while it ran; `tunables`: what both
    sides had in GLIBC_TUNABLES."""
    lines = [
        f"- {datetime.date.today()}, Pericard {commit()}",
        *(f"- {peer}" for peer in peers),
        f"- {cpu()}, {os.cpu_count()} CPUs ({', '.join(instructions()) or 'no vector instructions asked for'}), "
        f"{memory_bytes() >> 30} GiB, Linux {platform.release()}",
        f"- threads of each engine: {threads}; both sides with `GLIBC_TUNABLES={tunables}`, large pages are "
        f"`{large_pages()}`",
    ]
    if load:
        lines.append(f"- load average while it ran: {min(load):.1f} to {max(load):.1f}")
    return "\n".join(lines) + "\n"


def reached(value, goal):
    """Whether a value keeps to a goal such as `>= 1.5` or `<= 3 %`; a dash where there is no value or no goal."""
    if not goal or value is None or value != value:
        return "-"
    sign, bound = goal.split()[:2]
    return "yes" if (value >= float(bound) if sign == ">=" else value <= float(bound)) else "no"


def commit():
    """The tree's commit; `-dirty` where anything but kept figures differs from it."""
    git = lambda *words: subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True).stdout.strip()
    changed = git("status", "--porcelain", "--", ".", ":!benches/runs")
    return (git("rev-parse", "--short=12", "HEAD") or "of no clone") + ("-dirty" if changed else "")


def cpu():
    return told_of_cpu("model name") or platform.machine()


def instructions():
    told = told_of_cpu("flags").split()
    return [name for name in INSTRUCTIONS if name in told]


def told_of_cpu(name):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.split(":")[0].strip() == name:
            return line.split(":", 1)[1].strip()
    return ""


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def large_pages():
    """When the system gives them: always, where it is asked for them (madvise), or never."""
    told = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return told.read_text().split("[")[1].split("]")[0] if told.exists() else "not known"
