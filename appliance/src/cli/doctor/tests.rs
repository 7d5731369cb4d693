//! Machines as they should be, and what was planted in them.

use super::configured::Configured;
use super::machine::{Machine, Unseen};
use super::profile::Profile;
use super::recorded::{GONE, MOUNTS, PLANTED, Recorded, SECURE_BOOT};
use super::{Report, Verdict, examine};
use crate::config::DEFAULT_FILE;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

/// The profiles of servers.
const SERVERS: [&str; 4] = ["clinic-cpu", "gpu-24gb", "gpu-80gb", "gpu-mig"];

fn examined(machine: &Recorded, profile: &str) -> Report {
    configured_by(DEFAULT_FILE, machine, profile)
}

fn configured_by(file: &str, machine: &Recorded, profile: &str) -> Report {
    let machine = Machine::at(machine.root());
    let configured = Configured::read(&machine, Path::new(file));
    let profile = Profile::named(profile).unwrap().about(&configured);
    examine(&machine, &profile, false)
}

/// Every line that is not ok.
fn wrong(report: &Report) -> Vec<&str> {
    let lines = report.lines.iter();
    let wrong = lines.filter(|line| line.verdict != Verdict::Ok);
    wrong.map(|line| line.name.as_str()).collect()
}

#[test]
fn a_machine_that_is_as_its_profile_says_has_nothing_wrong() {
    for profile in SERVERS {
        let report = examined(&Recorded::good(profile), profile);
        assert!(wrong(&report).is_empty(), "{profile}: {report:#?}");
        assert!(
            report.ok >= 25,
            "{profile} looks at {} lines only",
            report.ok
        );
    }
}

#[test]
fn each_planted_fault_is_found_and_nothing_else() {
    for (profile, file, text, line) in PLANTED {
        let machine = Recorded::good(profile);
        machine.write(file, text);
        let report = examined(&machine, profile);
        assert_eq!(wrong(&report), [*line], "{profile}: {file}");
        let found = report.lines.iter().find(|l| l.name == *line).unwrap();
        assert!(!found.why.is_empty() && !found.mend.is_empty());
    }
}

#[test]
fn every_line_of_a_server_s_profile_has_a_planted_fault() {
    let planted: BTreeSet<&str> = PLANTED.iter().map(|(.., line)| *line).collect();
    for name in SERVERS {
        let profile = Profile::named(name).unwrap();
        let checks = profile.checks.iter().map(|check| check.name.as_str());
        let without: Vec<_> = checks.filter(|line| !planted.contains(line)).collect();
        assert!(
            without.is_empty(),
            "{name}: nothing shows that {without:?} finds a fault"
        );
    }
}

#[test]
fn the_time_servers_of_every_distribution_are_looked_at() {
    let own = "# pool 2.rhel.pool.ntp.org iburst\nserver ntp.clinic.test iburst\nmakestep 1.0 3\nrtcsync\n";
    let example = "server ntp1.hospital.example iburst\nmakestep 1 3\nrtcsync\n";
    let of_rhel = "pool 2.rhel.pool.ntp.org iburst\nmakestep 1.0 3\nrtcsync\n";
    for path in ["etc/chrony.d/pericard.conf", "etc/chrony.conf"] {
        let machine = Recorded::good("clinic-cpu");
        machine.write("etc/chrony/conf.d/pericard.conf", GONE);
        let found = examined(&machine, "clinic-cpu");
        assert_eq!(wrong(&found), ["time servers"], "no chrony");
        machine.write(path, own);
        assert!(
            wrong(&examined(&machine, "clinic-cpu")).is_empty(),
            "{path}"
        );
        for text in [example, of_rhel] {
            machine.write(path, text);
            let found = examined(&machine, "clinic-cpu");
            assert_eq!(wrong(&found), ["time servers"], "{path}: {text}");
        }
    }
    // The distribution's own pool is asked beside the hospital's servers.
    for (path, text) in [
        (
            "etc/chrony/chrony.conf",
            "pool 2.debian.pool.ntp.org iburst\n",
        ),
        (
            "etc/chrony/chrony.conf",
            "pool ntp.ubuntu.com iburst maxsources 4\n",
        ),
        (
            "etc/chrony/sources.d/ubuntu-ntp-pools.sources",
            "pool 1.ntp.ubuntu.com iburst\n",
        ),
    ] {
        let machine = Recorded::good("clinic-cpu");
        machine.write(path, text);
        let found = examined(&machine, "clinic-cpu");
        assert_eq!(wrong(&found), ["time servers"], "{path}: {text}");
        machine.write(path, &format!("# {text}"));
        assert!(
            wrong(&examined(&machine, "clinic-cpu")).is_empty(),
            "{path}"
        );
    }
}

#[test]
fn the_data_and_the_key_are_looked_at_where_the_configuration_puts_them() {
    let machine = Recorded::with_data_elsewhere();
    assert!(wrong(&examined(&machine, "clinic-cpu")).is_empty());
    let found = configured_by("/etc/pericard/elsewhere.toml", &machine, "clinic-cpu");
    let elsewhere = [
        "data has its own volume",
        "data encrypted at rest",
        "who may read the data",
        "who may read the key",
        "free space",
    ];
    assert_eq!(wrong(&found), elsewhere);
    let key = found.lines.iter().find(|l| l.name == elsewhere[3]).unwrap();
    assert!(key.mend.contains("/srv/tls/server.key"), "{}", key.mend);
    // On a volume of its own it is as safe as in the usual place.
    let mounts = MOUNTS.replace("/var/lib/pericard", "/srv/pericard");
    machine.write("proc/self/mountinfo", &mounts);
    let found = configured_by("/etc/pericard/elsewhere.toml", &machine, "clinic-cpu");
    assert_eq!(wrong(&found), elsewhere[2..]);
    // Without a configuration that can be read, that is said, and the usual places are looked at.
    let found = configured_by("/etc/pericard/none.toml", &machine, "clinic-cpu");
    let usual = [
        "configuration",
        "data has its own volume",
        "data encrypted at rest",
    ];
    assert_eq!(wrong(&found), usual);
}

#[test]
fn no_word_for_a_configured_path_is_left_in_a_line() {
    let machine = Recorded::good("clinic-cpu");
    let machine = Machine::at(machine.root());
    for name in Profile::names() {
        let configured = Configured::read(&machine, Path::new(DEFAULT_FILE));
        for check in Profile::named(name).unwrap().about(&configured).checks {
            let text = format!("{check:?}");
            for word in ["{config}", "{data}", "{key}", "{onnxruntime}"] {
                assert!(!text.contains(word), "{name}: {text}");
            }
        }
    }
}

#[test]
fn only_what_is_not_there_may_be_absent() {
    for (place, line) in [
        ("--format=%a _var_lib_pericard", "who may read the data"),
        (
            "--format=%U:%G %a _var_lib_pericard_tls_server.key",
            "who may read the key",
        ),
    ] {
        let machine = Recorded::good("clinic-cpu");
        let complaint = format!("programs/stat {place}.failed");
        machine.write(
            &complaint,
            "stat: cannot statx 'it': No such file or directory\n",
        );
        assert!(wrong(&examined(&machine, "clinic-cpu")).is_empty());
        // Nobody could look: that is no answer.
        machine.write(&complaint, GONE);
        machine.write(&format!("programs/stat {place}"), GONE);
        assert_eq!(wrong(&examined(&machine, "clinic-cpu")), [line]);
    }
    // A directory in the place of a file is there, and cannot be read.
    let machine = Recorded::good("clinic-cpu");
    let place = machine.root().join("proc/mdstat");
    machine.write("proc/mdstat", GONE);
    assert!(wrong(&examined(&machine, "clinic-cpu")).is_empty());
    fs::create_dir(place).unwrap();
    assert_eq!(wrong(&examined(&machine, "clinic-cpu")), ["RAID whole"]);
}

#[test]
fn a_program_that_fails_says_why_and_whether_there_is_such_a_thing() {
    let here = Machine::at(Path::new("/"));
    let said = here.said("sh", &["-c", "echo disabled; exit 1"]);
    assert!(matches!(said, Err(Unseen::Hidden(why)) if why == "sh failed: disabled"));
    let said = here.said("stat", &["/no/such/thing"]);
    assert!(matches!(said, Err(Unseen::Absent(_))), "{said:?}");
    let said = here.said("no-such-program", &[]);
    assert!(matches!(said, Err(Unseen::Hidden(_))), "{said:?}");
}

#[test]
fn a_key_that_systemd_hands_over_is_not_looked_at() {
    let machine = Recorded::good("clinic-cpu");
    let sealed = "[https]\ncertificate = '/etc/pericard/tls/server.pem'\n\
                  key = '/run/credentials/pericard.service/tls.key'\n";
    machine.write("etc/pericard/pericard.toml", sealed);
    assert!(wrong(&examined(&machine, "clinic-cpu")).is_empty());
}

#[test]
fn an_aarch64_machine_is_judged_by_its_own_processor_and_driver() {
    let machine = Recorded::good("gpu-80gb");
    let processor = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes\n".repeat(64);
    machine.write("proc/cpuinfo", &processor);
    let driver = |version: &str| {
        format!(
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  {version}  Release Build"
        )
    };
    machine.write("proc/driver/nvidia/version", &driver("580.95.05"));
    assert!(wrong(&examined(&machine, "gpu-80gb")).is_empty());
    machine.write("proc/driver/nvidia/version", &driver("570.195.03"));
    assert_eq!(wrong(&examined(&machine, "gpu-80gb")), ["driver version"]);
}

#[test]
fn a_card_whose_memory_cannot_be_checked_is_not_blamed_for_it() {
    let machine = Recorded::good("gpu-24gb");
    let place = "programs/nvidia-smi --query-gpu=ecc.mode.current --format=csv,noheader";
    machine.write(place, "[N/A]\n");
    assert!(wrong(&examined(&machine, "gpu-24gb")).is_empty());
}

#[test]
fn the_egress_policy_may_be_included_by_name_and_on_every_distribution() {
    let machine = Recorded::good("clinic-cpu");
    machine.write("etc/nftables.conf", GONE);
    let survives = ["egress policy survives a reboot"];
    assert_eq!(wrong(&examined(&machine, "clinic-cpu")), survives);
    let by_name = "include \"/etc/nftables.d/pericard.nft\"\n";
    machine.write("etc/sysconfig/nftables.conf", by_name);
    assert!(wrong(&examined(&machine, "clinic-cpu")).is_empty());
}

#[test]
fn what_mends_is_said_for_every_distribution_and_lasts() {
    for name in Profile::names() {
        for check in Profile::named(name).unwrap().checks {
            for (debian, rhel) in [
                ("update-initramfs", "dracut"),
                ("update-grub", "grubby"),
                ("apt install", "dnf install"),
                ("/etc/nftables.conf", "/etc/sysconfig/nftables.conf"),
            ] {
                assert!(
                    !check.mend.contains(debian) || check.mend.contains(rhel),
                    "{}: {}",
                    check.name,
                    check.mend
                );
            }
            // Rules that are only loaded are gone after the next reboot.
            if check.mend.contains("nft -f") {
                for lasts in ["include", "systemctl enable nftables"] {
                    assert!(check.mend.contains(lasts), "{}", check.name);
                }
            }
        }
    }
}

/// Two cards in the place of the driver's program, and what they were asked.
const TWO_CARDS: &str = r#"
smi() {
    echo "$*" >>asked
    case "$*" in
        "--query-gpu=index --format=csv,noheader") printf '0\n1\n' ;;
        "-i "?" --query-gpu=mig.mode.current --format=csv,noheader")
            if [ -e "mig$2" ]; then echo Enabled; else echo Disabled; fi ;;
        "-i "?" -mig 1") : >"mig$2" ;;
        "mig -i "?" -lgi")
            if [ -e "parts$3" ]; then
                echo "|   $3  MIG 3g.40gb          9        1          4:4     |"
            else
                echo "No MIG-enabled devices found."
                return 6
            fi ;;
        "mig -i "?" -cgi 9,15,15 -C") [ -e "mig$3" ] && : >"parts$3" ;;
        *) return 2 ;;
    esac
}
"#;

#[test]
fn the_unit_switches_mig_on_and_parts_each_card_by_itself() {
    let unit = include_str!("../../../../firmware-config/files/nvidia/pericard-mig.service");
    let (_, after) = unit.split_once("ExecStart=/bin/sh -ec '").unwrap();
    let (script, _) = after.split_once('\'').unwrap();
    let script = script.replace("\\\n", " ").replace("$$", "$");
    let script = script.replace("nvidia-smi", "smi");
    let cards = tempfile::tempdir().unwrap();
    // The first card kept MIG and its parts; the second forgot both.
    fs::write(cards.path().join("mig0"), "").unwrap();
    fs::write(cards.path().join("parts0"), "").unwrap();
    for start in ["first", "second"] {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-ec").arg(format!("{TWO_CARDS}{script}"));
        let status = shell.current_dir(cards.path()).status().unwrap();
        assert!(status.success(), "the {start} start: {status}");
    }
    let there = |name: &str| cards.path().join(name).exists();
    assert!(there("mig1") && there("parts1"));
    let asked = fs::read_to_string(cards.path().join("asked")).unwrap();
    let changes = asked
        .lines()
        .filter(|l| l.contains("-mig 1") || l.contains("-cgi"));
    let once = ["-i 1 -mig 1", "mig -i 1 -cgi 9,15,15 -C"];
    assert_eq!(changes.collect::<Vec<_>>(), once, "{asked}");
}

#[test]
fn what_is_not_there_or_lies_elsewhere_is_found() {
    for (file, line) in [
        (SECURE_BOOT, "secure boot"),
        ("sys/fs/cgroup/cgroup.controllers", "cgroup version"),
        ("etc/modprobe.d/pericard-server.conf", "USB storage"),
    ] {
        let machine = Recorded::good("clinic-cpu");
        fs::remove_file(machine.root().join(file)).unwrap();
        assert_eq!(wrong(&examined(&machine, "clinic-cpu")), [line], "{file}");
    }
    let machine = Recorded::good("clinic-cpu");
    fs::write(machine.root().join(SECURE_BOOT), [6, 0, 0, 0, 0]).unwrap();
    assert_eq!(wrong(&examined(&machine, "clinic-cpu")), ["secure boot"]);

    let machine = Recorded::good("clinic-cpu");
    let unsafe_options = MOUNTS.replace("attr2", "nobarrier");
    machine.write("proc/self/mountinfo", &unsafe_options);
    let own = ["data has its own volume"];
    assert_eq!(wrong(&examined(&machine, "clinic-cpu")), own);
    // Without a volume of its own the data lies on the system's, which is not encrypted.
    let system_only = MOUNTS.lines().next().unwrap();
    machine.write("proc/self/mountinfo", system_only);
    let both = ["data has its own volume", "data encrypted at rest"];
    assert_eq!(wrong(&examined(&machine, "clinic-cpu")), both);
}

#[test]
fn the_profile_is_guessed_from_the_cards() {
    for profile in SERVERS {
        let machine = Recorded::good(profile);
        assert_eq!(super::guessed(&Machine::at(machine.root())), profile);
    }
    // Parts of small cards would hold no model.
    let machine = Recorded::good("gpu-mig");
    let memory = "programs/nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits";
    for cards in ["24564\n24564\n", "81559\n24564\n"] {
        machine.write(memory, cards);
        let guessed = super::guessed(&Machine::at(machine.root()));
        assert_eq!(guessed, "gpu-24gb", "{cards:?}");
    }
    // A card without a driver is a card: the profile then says what is missing.
    let machine = Recorded::good("clinic-cpu");
    machine.write("sys/devices/card/vendor", "0x10de\n");
    machine.write("sys/devices/card/class", "0x030200\n");
    let devices = machine.root().join("sys/bus/pci/devices");
    fs::create_dir_all(&devices).unwrap();
    symlink("../../../devices/card", devices.join("0000:01:00.0")).unwrap();
    assert_eq!(super::guessed(&Machine::at(machine.root())), "gpu-24gb");
}

#[test]
fn every_profile_is_whole_and_an_unknown_one_is_refused() {
    for name in Profile::names() {
        let profile = Profile::named(name).unwrap();
        assert_eq!(profile.name, name);
        for check in &profile.checks {
            let words = [&check.why, &check.mend, &check.name];
            assert!(words.iter().all(|word| !word.is_empty()));
        }
    }
    let refused = Profile::named("gpu").err().unwrap();
    assert!(refused.contains("gpu-80gb"), "{refused}");
}
