//! Recorded machines: as their profiles want them, and with what is planted. The doctor's own tests look at them, and those of
//! the binary.

use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A machine that is as its profile wants it.
pub(crate) struct Recorded(TempDir);

impl Recorded {
    pub(crate) fn good(profile: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.linux();
        if profile != "clinic-cpu" {
            machine.cards(if profile == "gpu-mig" { 2 } else { 1 }, profile);
        }
        machine
    }

    /// A server as it should be, with a second configuration that keeps the data and the key in /srv, where neither is safe.
    pub(crate) fn with_data_elsewhere() -> Self {
        let machine = Self::good("clinic-cpu");
        for (path, text) in [
            (
                "etc/pericard/elsewhere.toml",
                "[appliance]\ndata_dir = '/srv/pericard/'\n\
                 [https]\ncertificate = '/srv/tls/server.pem'\nkey = '/srv/tls/server.key'\n",
            ),
            ("programs/stat --format=%a _srv_pericard", "755\n"),
            (
                "programs/stat --format=%U:%G %a _srv_tls_server.key",
                "root:root 600\n",
            ),
            (
                "programs/df --block-size=1G --output=avail _srv_pericard",
                " Avail\n    12\n",
            ),
        ] {
            machine.write(path, text);
        }
        machine
    }

    /// Where it lies.
    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    fn linux(&self) {
        let processor = "processor\t: 0\nflags\t\t: fpu avx2 fma f16c x\n".repeat(64);
        for (path, text) in [
            ("proc/version", "Linux"),
            ("proc/sys/kernel/osrelease", "6.1.0-30-amd64\n"),
            ("proc/cpuinfo", &processor),
            (
                "proc/meminfo",
                "MemTotal:       540000000 kB\nMemFree: 1 kB\n",
            ),
            (
                "proc/cmdline",
                "BOOT_IMAGE=/vmlinuz root=/dev/mapper/root ro quiet\n",
            ),
            (
                "proc/modules",
                "xfs 1 2 - Live 0x0\nnvidia 1 2 - Live 0x0\n",
            ),
            (
                "proc/mdstat",
                "md1 : active raid1 sdb1[1] sda1[0]\n      976630464 blocks [2/2] [UU]\n",
            ),
            (
                "proc/swaps",
                "Filename Type Size Used Priority\n/dev/dm-3 partition 1 0 -2\n",
            ),
            ("proc/sys/fs/suid_dumpable", "0\n"),
            ("proc/sys/kernel/yama/ptrace_scope", "1\n"),
            ("proc/sys/user/max_user_namespaces", "16384\n"),
            ("proc/sys/vm/swappiness", "10\n"),
            ("proc/self/mountinfo", MOUNTS),
            (
                "sys/kernel/security/lsm",
                "lockdown,capability,landlock,yama,apparmor,bpf",
            ),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "always [madvise] never\n",
            ),
            ("sys/class/tpm/tpm0/tpm_version_major", "2\n"),
            ("sys/class/block/dm-3/dev", "253:3\n"),
            ("sys/dev/block/253:3/dm/uuid", "CRYPT-PLAIN-swap\n"),
            // The data: a logical volume on an encrypted one, as installers make it.
            ("sys/dev/block/253:2/dm/uuid", "LVM-abc\n"),
            ("sys/dev/block/253:2/slaves/dm-1/dev", "253:1\n"),
            ("sys/dev/block/253:1/dm/uuid", "CRYPT-LUKS2-abc-data\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/block/nvme0n1/queue/scheduler", "[none] mq-deadline\n"),
            (
                "etc/chrony/conf.d/pericard.conf",
                "server ntp.clinic.test iburst\nmakestep 1 3\nrtcsync\n",
            ),
            (
                "programs/timedatectl show --property=NTPSynchronized --value",
                "yes\n",
            ),
            ("programs/stat --format=%a _var_lib_pericard", "750\n"),
            (
                "programs/stat --format=%U:%G %a _var_lib_pericard_tls_server.key",
                "pericard:pericard 600\n",
            ),
            (
                "etc/pericard/pericard.toml",
                "[appliance]\nname = 'clinic'\n",
            ),
            (
                "etc/nftables.conf",
                "flush ruleset\ninclude \"/etc/nftables.d/*.nft\"\n",
            ),
            ("programs/systemctl is-enabled nftables", "enabled\n"),
            (
                "programs/nft list chain inet pericard from_pericard",
                "chain from_pericard {\n reject\n}\n",
            ),
            (
                "programs/nft list chain inet pericard from_gate",
                "chain from_gate {\n reject\n}\n",
            ),
            (
                "programs/nft list chain inet pericard output",
                "chain output {\n meta skuid 998 jump from_pericard\n meta skuid 997 jump from_gate\n}\n",
            ),
            (
                "programs/df --block-size=1G --output=avail _var_lib_pericard",
                " Avail\n  3500\n",
            ),
        ] {
            self.write(path, text);
        }
        self.write_bytes(SECURE_BOOT, &[6, 0, 0, 0, 1]);
        self.install("etc/sysctl.d/60-pericard.conf", "sysctl.d/60-pericard.conf");
        self.install(
            "etc/systemd/coredump.conf.d/pericard.conf",
            "coredump/pericard.conf",
        );
        self.install(
            "etc/modprobe.d/pericard-server.conf",
            "modprobe.d/pericard-server.conf",
        );
    }

    fn cards(&self, count: usize, profile: &str) {
        let (memory, power, mig) = match profile {
            "gpu-24gb" => ("24564", "450.00", "[N/A]"),
            "gpu-80gb" => ("81559", "700.00", "Disabled"),
            _ => ("81559", "700.00", "Enabled"),
        };
        let driver =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build";
        self.write("proc/driver/nvidia/version", driver);
        let version = "NVIDIA-SMI version  : 580.95.05\nCUDA Version        : 13.0\n";
        self.write("programs/nvidia-smi --version", version);
        for (asked, answer) in [
            ("name", "NVIDIA H100 80GB HBM3"),
            ("persistence_mode", "Enabled"),
            ("ecc.errors.uncorrected.volatile.total", "0"),
            ("ecc.mode.current", "Enabled"),
            ("mig.mode.current", mig),
            ("clocks_event_reasons.hw_thermal_slowdown", "Not Active"),
        ] {
            self.query(asked, &format!("{answer}\n").repeat(count));
        }
        for (asked, answer) in [("memory.total", memory), ("power.limit", power)] {
            let place =
                format!("programs/nvidia-smi --query-gpu={asked} --format=csv,noheader,nounits");
            self.write(&place, &format!("{answer}\n").repeat(count));
        }
        self.write("programs/_sbin_ldconfig -p", LIBRARIES);
        let provider = "usr/lib/pericard/onnxruntime/libonnxruntime_providers_cuda.so";
        self.write(provider, "");
        for node in ["nvidiactl", "nvidia0", "nvidia-uvm"] {
            self.write(&format!("dev/{node}"), "");
        }
        self.write("etc/systemd/system/pericard.service.d/gpu.conf", "");
        self.install(
            "etc/modprobe.d/pericard-nvidia.conf",
            "modprobe.d/pericard-nvidia.conf",
        );
        self.install(
            "etc/udev/rules.d/60-pericard-nvidia.rules",
            "udev/60-pericard-nvidia.rules",
        );
        self.install(
            "etc/systemd/system/pericard-mig.service",
            "nvidia/pericard-mig.service",
        );
    }

    fn query(&self, asked: &str, answer: &str) {
        let place = format!("programs/nvidia-smi --query-gpu={asked} --format=csv,noheader");
        self.write(&place, answer);
    }

    fn install(&self, path: &str, shipped: &str) {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware-config/files");
        self.write_bytes(path, &fs::read(files.join(shipped)).unwrap());
    }

    /// Writes a file; [`GONE`] takes it away.
    pub(crate) fn write(&self, path: &str, text: &str) {
        if text == GONE {
            fs::remove_file(self.0.path().join(path)).unwrap();
            return;
        }
        self.write_bytes(path, text.as_bytes());
    }

    fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

pub(crate) const SECURE_BOOT: &str =
    "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
pub(crate) const MOUNTS: &str = "\
22 1 253:0 / / rw,relatime - ext4 /dev/mapper/root rw
40 22 253:2 / /var/lib/pericard rw,nosuid,nodev,noexec,noatime - xfs /dev/mapper/data rw,attr2
";

/// As [`MOUNTS`], but a power cut may lose what was acknowledged.
const MOUNTS_UNSAFE: &str = "\
22 1 253:0 / / rw,relatime - ext4 /dev/mapper/root rw
40 22 253:2 / /var/lib/pericard rw,nosuid,nodev,noexec,noatime - xfs /dev/mapper/data rw,nobarrier
";
/// What the loader finds.
const LIBRARIES: &str = "\
\tlibcurand.so.10 (libc6,x86-64) => /usr/local/cuda-13.0/targets/x86_64-linux/lib/libcurand.so.10
\tlibcufft.so.12 (libc6,x86-64) => /usr/local/cuda-13.0/targets/x86_64-linux/lib/libcufft.so.12
\tlibcudnn.so.9 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcudnn.so.9
\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1
\tlibcublas.so.13 (libc6,x86-64) => /usr/local/cuda-13.0/targets/x86_64-linux/lib/libcublas.so.13
";

/// As [`LIBRARIES`], but cuBLAS is that of CUDA 12.
const LIBRARIES_OLD: &str = "\
\tlibcurand.so.10 (libc6,x86-64) => /usr/local/cuda-12.8/targets/x86_64-linux/lib/libcurand.so.10
\tlibcufft.so.12 (libc6,x86-64) => /usr/local/cuda-13.0/targets/x86_64-linux/lib/libcufft.so.12
\tlibcudnn.so.9 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcudnn.so.9
\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1
\tlibcublas.so.12 (libc6,x86-64) => /usr/local/cuda-12.8/targets/x86_64-linux/lib/libcublas.so.12
";

/// As [`LIBRARIES`], but enough for language models only.
const LIBRARIES_WITHOUT_CUDNN: &str = "\
\tlibcurand.so.10 (libc6,x86-64) => /usr/local/cuda-13.0/targets/x86_64-linux/lib/libcurand.so.10
\tlibcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1
\tlibcublas.so.13 (libc6,x86-64) => /usr/local/cuda-13.0/targets/x86_64-linux/lib/libcublas.so.13
";

/// Eight cores of a processor that is too old.
const OLD_PROCESSOR: &str = "\
processor\t: 0\nprocessor\t: 1\nprocessor\t: 2\nprocessor\t: 3\nprocessor\t: 4\nprocessor\t: 5\nprocessor\t: 6
processor\t: 7\nflags\t\t: fpu sse4_2 fma f16c x\n";

/// What a program says to others than root.
const DENIED: &str = "stat: cannot statx 'a file': Permission denied\n";
/// In the place of a file's text: there is no such file.
pub(crate) const GONE: &str = "(gone)";

/// What is planted, and the one line that must say so.
#[rustfmt::skip] // a table
pub(crate) const PLANTED: &[(&str, &str, &str, &str)] = &[
    // profile, file, text, line
    ("clinic-cpu", "proc/sys/kernel/osrelease", "5.4.0-generic", "kernel version"),
    ("clinic-cpu", "proc/cpuinfo", OLD_PROCESSOR, "processor instructions"),
    ("clinic-cpu", "proc/cmdline", "quiet mitigations=off", "processor mitigations"),
    ("clinic-cpu", "sys/kernel/security/lsm", "lockdown,capability,yama", "kernel runs Landlock"),
    ("clinic-cpu", "proc/sys/user/max_user_namespaces", "0", "user namespaces"),
    ("clinic-cpu", "proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "user namespaces, AppArmor"),
    ("clinic-cpu", "sys/fs/cgroup/cgroup.controllers", GONE, "cgroup version"),
    ("clinic-cpu", "proc/sys/fs/suid_dumpable", "2", "core images of privileged programs"),
    ("clinic-cpu", "proc/sys/kernel/yama/ptrace_scope", "0", "looking into other processes"),
    ("clinic-cpu", "etc/systemd/coredump.conf.d/pericard.conf", "[Coredump]\nStorage=external\n", "core images"),
    ("clinic-cpu", "etc/sysctl.d/60-pericard.conf", "# emptied\n", "settings survive a reboot"),
    ("clinic-cpu", "proc/sys/vm/swappiness", "60", "swapping"),
    ("clinic-cpu", "sys/dev/block/253:3/dm/uuid", "LVM-swap", "swap encrypted"),
    ("clinic-cpu", "sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]", "huge pages"),
    ("clinic-cpu", "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave", "processor frequency"),
    ("clinic-cpu", "etc/modprobe.d/pericard-server.conf", "install usb-storage /bin/true\n", "USB storage"),
    ("clinic-cpu", SECURE_BOOT, GONE, "secure boot"),
    ("clinic-cpu", "proc/self/mountinfo", MOUNTS_UNSAFE, "data has its own volume"),
    ("clinic-cpu", "programs/timedatectl show --property=NTPSynchronized --value", "no", "time"),
    ("clinic-cpu", "sys/class/tpm/tpm0/tpm_version_major", "1", "TPM"),
    ("clinic-cpu", "sys/dev/block/253:1/dm/uuid", "LVM-def", "data encrypted at rest"),
    ("clinic-cpu", "proc/mdstat", "md1 : active raid1 sda1[0]\n 9 blocks [2/1] [U_]\n", "RAID whole"),
    ("clinic-cpu", "programs/stat --format=%a _var_lib_pericard", "755", "who may read the data"),
    ("clinic-cpu", "programs/stat --format=%a _var_lib_pericard.failed", DENIED, "who may read the data"),
    ("clinic-cpu", "programs/stat --format=%U:%G %a _var_lib_pericard_tls_server.key", "pericard:pericard 644", "who may read the key"),
    ("clinic-cpu", "programs/stat --format=%U:%G %a _var_lib_pericard_tls_server.key", "root:root 600", "who may read the key"),
    ("clinic-cpu", "programs/stat --format=%U:%G %a _var_lib_pericard_tls_server.key.failed", DENIED, "who may read the key"),
    ("clinic-cpu", "etc/pericard/pericard.toml", "[appliance]\ndata_dir = 1\n", "configuration"),
    ("clinic-cpu", "etc/nftables.conf", "# include \"/etc/nftables.d/*.nft\"\n", "egress policy survives a reboot"),
    ("clinic-cpu", "programs/systemctl is-enabled nftables.failed", "disabled", "egress policy loaded at the start"),
    ("clinic-cpu", "programs/nft list chain inet pericard from_pericard", "chain from_pericard { accept }", "egress policy"),
    ("clinic-cpu", "programs/nft list chain inet pericard from_gate", GONE, "egress policy of the gate"),
    ("clinic-cpu", "programs/nft list chain inet pericard output", "chain output {\n meta skuid 998 jump from_pericard\n}\n", "egress policy in force"),
    ("clinic-cpu", "programs/df --block-size=1G --output=avail _var_lib_pericard", "Avail\n 12", "free space"),
    ("clinic-cpu", "etc/chrony/conf.d/pericard.conf", "server ntp1.hospital.example iburst\nmakestep 1 3\nrtcsync\n", "time servers"),
    ("clinic-cpu", "sys/block/nvme0n1/queue/scheduler", "none [mq-deadline]\n", "disk scheduler"),
    ("clinic-cpu", "proc/meminfo", "MemTotal: 8000000 kB", "memory"),
    ("gpu-24gb", "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx2 fma f16c x\n", "cores"),
    ("gpu-24gb", "dev/nvidiactl", GONE, "card device nodes"),
    ("gpu-80gb", "dev/nvidia0", GONE, "card device nodes"),
    ("gpu-mig", "dev/nvidia-uvm", GONE, "card device nodes"),
    ("gpu-24gb", "etc/systemd/system/pericard.service.d/gpu.conf", GONE, "service may use the cards"),
    ("gpu-24gb", "etc/modprobe.d/pericard-nvidia.conf", "blacklist nouveau\n", "driver's options"),
    ("gpu-24gb", "proc/modules", "nouveau 1 2 - Live 0x0", "free driver out of the way"),
    ("gpu-24gb", "proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.195.03", "driver version"),
    ("gpu-24gb", "programs/nvidia-smi --version", "CUDA Version        : 12.8", "CUDA version of the driver"),
    ("gpu-24gb", "programs/_sbin_ldconfig -p", LIBRARIES_OLD, "CUDA libraries"),
    ("gpu-80gb", "programs/_sbin_ldconfig -p", LIBRARIES_WITHOUT_CUDNN, "CUDA libraries of imaging models"),
    ("gpu-80gb", "usr/lib/pericard/onnxruntime/libonnxruntime_providers_cuda.so", GONE, "ONNX Runtime for CUDA"),
    ("gpu-24gb", "programs/nvidia-smi --query-gpu=ecc.mode.current --format=csv,noheader", "Disabled", "card memory is checked"),
    ("gpu-24gb", "programs/nvidia-smi --query-gpu=persistence_mode --format=csv,noheader", "Disabled", "card persistence"),
    ("gpu-24gb", "programs/nvidia-smi --query-gpu=clocks_event_reasons.hw_thermal_slowdown --format=csv,noheader", "Active", "card heat"),
    ("gpu-24gb", "etc/udev/rules.d/60-pericard-nvidia.rules", "# emptied\n", "card device rules"),
    ("gpu-80gb", "programs/nvidia-smi --query-gpu=power.limit --format=csv,noheader,nounits", "200.00", "card power limit"),
    ("gpu-80gb", "programs/nvidia-smi --query-gpu=ecc.mode.current --format=csv,noheader", "Disabled", "card memory is checked"),
    ("gpu-80gb", "programs/nvidia-smi --query-gpu=ecc.errors.uncorrected.volatile.total --format=csv,noheader", "3", "card memory errors"),
    ("gpu-80gb", "programs/nvidia-smi --query-gpu=mig.mode.current --format=csv,noheader", "Enabled", "card whole"),
    ("gpu-mig", "programs/nvidia-smi --query-gpu=mig.mode.current --format=csv,noheader", "Enabled\nDisabled", "cards are parted"),
    ("gpu-mig", "etc/systemd/system/pericard-mig.service", "# emptied\n", "parts survive a reboot"),
    ("gpu-mig", "programs/nvidia-smi --query-gpu=name --format=csv,noheader", "NVIDIA H100", "cards"),
    ("gpu-mig", "programs/nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits", "81559\n24564", "card memory"),
];
