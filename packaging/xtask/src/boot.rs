//! The packages, on the binary that the tests have built: `packaging/check`, and in a booted system `packaging/boot/test`.

use crate::cache::Cache;
use crate::dist;
use crate::error::{Error, run};
use crate::peers::{install_packages, is_root, on_path};
use std::path::Path;
use std::process::{Command, Stdio};

/// What boots a system in a folder, what makes one, and what reads the other kind of package.
const TOOLS: [&str; 3] = ["systemd-nspawn", "mmdebstrap", "rpm"];

/// What looks at packages, and the Debian package that has it.
const CHECKERS: [(&str, &str); 4] = [
    ("lintian", "lintian"),
    ("rpmlint", "rpmlint"),
    ("rpm", "rpm"),
    ("objdump", "binutils"),
];

/// Packages the binary of the tests twice, compares, and has the distributions' own checkers look at it.
pub(crate) fn check(tree: &Path) -> Result<(), Error> {
    let absent = CHECKERS.iter().filter(|(program, _)| !on_path(program));
    let packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    let script = tree.join("packaging/check");
    if let Err(error) = install_packages(&packages) {
        return passed_over(&script, error.to_string(), crate::in_ci());
    }
    run(Command::new(script).arg(crate::target(tree).join("debug/pericard")))
}

/// The version of the packages that are upgraded from: below any of ours.
const PREVIOUS_VERSION: &str = "0.0.1";

/// Packages the binary of the tests and does with it what a hospital does. Where nobody may boot anything, it says so.
pub(crate) fn test(tree: &Path, cache: &Cache) -> Result<(), Error> {
    let script = tree.join("packaging/boot/test");
    if let Some(why) = cannot(cache) {
        return passed_over(&script, why, crate::in_ci());
    }
    let target = crate::target(tree);
    let binary = target.join("debug/pericard");
    let packages = target.join("boot-packages");
    let previous = target.join("boot-packages-previous");
    dist::of_binary(tree, cache, &binary, env!("CARGO_PKG_VERSION"), &packages)?;
    dist::of_binary(tree, cache, &binary, PREVIOUS_VERSION, &previous)?;
    run(Command::new(script).arg(&packages).arg(&previous))
}

/// What cannot be done here is said; with `must` it is a failure.
fn passed_over(script: &Path, why: String, must: bool) -> Result<(), Error> {
    if must {
        let program = script.display().to_string();
        let status = format!("not here, and CI passes nothing over: {why}");
        return Err(Error::Failed { program, status });
    }
    eprintln!("{} is passed over: {why}", script.display());
    Ok(())
}

/// Why not here.
fn cannot(cache: &Cache) -> Option<String> {
    if !is_root() {
        return Some("only root may".into());
    }
    if let Some(missing) = TOOLS.iter().find(|tool| !on_path(tool)) {
        return Some(format!("{missing} is missing"));
    }
    // Any folder will do to see whether namespaces and mounts are allowed.
    let root = cache.root().join("boot-probe");
    let mut probe = Command::new("systemd-nspawn");
    probe
        .args([
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
        ])
        .args([
            "--volatile=no",
            "--bind-ro=/usr",
            "--bind-ro=/lib",
            "--bind-ro=/lib64",
            "--bind-ro=/bin",
        ])
        .arg(format!("--directory={}", root.display()))
        .arg("/usr/bin/true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let made = std::fs::create_dir_all(root.join("usr"));
    let started = made.is_ok() && probe.status().is_ok_and(|status| status.success());
    // Left behind, it would do no harm.
    let _ = std::fs::remove_dir_all(&root);
    (!started).then(|| "systemd-nspawn starts nothing here".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From nothing to the first result, as the README promises.
    const COMMANDS_MAX: usize = 8;

    fn commands(arguments: &[&str]) -> Vec<String> {
        let mut command = Command::new(crate::tree().join("packaging/boot/commands"));
        let output = command.args(arguments).output().expect("bash and awk");
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_readme_comes_to_the_first_result_in_few_commands() {
        let first = commands(&[]);
        assert!(first.len() <= COMMANDS_MAX, "{first:#?}");
        assert!(first[0].starts_with("sha256sum --check "), "{first:#?}");
        assert!(first[0].ends_with(" SHA256SUMS"), "{first:#?}");
        assert!(first[1].starts_with("apt-get install ./"), "{first:#?}");
        let last = first.last().expect("a command");
        assert!(last.starts_with("pericard submit --sample"), "{first:#?}");
        let next = commands(&["next"]);
        assert!(next[0].contains("$(pericard token issue "), "{next:#?}");
        assert!(next[1].starts_with("curl "), "{next:#?}");
        assert_eq!(next.len(), 2, "{next:#?}");
    }

    #[test]
    fn the_readme_brings_the_hospitals_certificate_into_use() {
        let certificate = commands(&["cert"]);
        let [request, install, name, reload] = certificate.as_slice() else {
            panic!("{certificate:#?}");
        };
        assert!(request.starts_with("pericard cert request "), "{request}");
        assert!(install.starts_with("pericard cert install "), "{install}");
        assert!(name.ends_with(" /etc/pericard/pericard.toml"), "{name}");
        assert_eq!(reload, "systemctl reload pericard");
    }

    #[test]
    fn no_hospital_is_told_to_install_the_hub() {
        let readme = std::fs::read_to_string(crate::tree().join("README.md")).expect("the README");
        let (_, rest) = readme
            .split_once("dnf install ")
            .expect("the .rpm's command");
        let dnf = rest.split('`').next().unwrap_or_default();
        let files = [
            "pericard-0.1.0-1.x86_64.rpm",
            "pericard-onnxruntime-1.32.0-1.x86_64.rpm",
        ];
        let matched = |name: &str| {
            let folder = tempfile::tempdir().expect("a folder");
            std::fs::write(folder.path().join(name), "").expect("a file");
            let mut shell = Command::new("sh");
            let shown = shell.args(["-c", &format!("ls -d {dnf} 2>/dev/null")]);
            let output = shown.current_dir(folder.path()).output().expect("sh");
            !output.stdout.is_empty()
        };
        assert!(files.into_iter().all(matched), "{dnf}");
        assert!(!matched("pericard-hub-0.1.0-1.x86_64.rpm"), "{dnf}");
    }

    /// The parts of the README that a hospital works by, offline.
    const FOR_HOSPITALS: [&str; 2] = ["## Install", "## Run it"];

    /// What they link to for whoever has the tree, who alone can run it.
    const FOR_DEVELOPERS: [&str; 1] = ["packaging/boot/test"];

    /// What is installed beside the README, and links further.
    const PAGES: [&str; 4] = [
        "packaging/README.md",
        "packaging/monitoring/README.md",
        "appliance/api/CONFORMANCE.md",
        "appliance/dimse/CONFORMANCE.md",
    ];

    fn links(text: &str) -> impl Iterator<Item = &str> {
        let targets = text.split("](").skip(1);
        targets
            .filter_map(|rest| rest.split([')', '#']).next())
            .filter(|link| !link.is_empty() && !link.contains("://"))
    }

    /// Where a page's link leads, from the top of the tree.
    fn led_to(page: &str, link: &str) -> String {
        let mut place: Vec<_> = page.split('/').collect();
        place.pop();
        for part in link.split('/') {
            if part == ".." {
                place.pop();
            } else {
                place.push(part);
            }
        }
        place.join("/")
    }

    /// Whether a package of this format holds the file, by the package's description.
    fn holds(description: &str, format: &str, place: &str) -> bool {
        let named = |entry: &str, line: &str| entry.lines().any(|each| each.trim() == line);
        let other = if format == "deb" { "rpm" } else { "deb" };
        description.split("\n  - ").any(|entry| {
            named(entry, &format!("dst: {place}"))
                && !named(entry, &format!("packager: {other}"))
                && !(format == "deb" && named(entry, "type: doc")) // the packager leaves it out
        })
    }

    #[test]
    fn what_the_readme_tells_hospitals_to_read_is_installed_where_its_links_lead() {
        let text = |path: &str| {
            std::fs::read_to_string(crate::tree().join(path))
                .unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let description = text("packaging/nfpm/pericard.yaml");
        let readme = text("README.md");
        let mut read: Vec<_> = PAGES.map(str::to_owned).into();
        for heading in FOR_HOSPITALS {
            let (_, section) = readme.split_once(&format!("\n{heading}\n")).expect(heading);
            let section = section.split("\n## ").next().expect("a section");
            read.extend(links(section).map(|link| led_to("README.md", link)));
        }
        for page in PAGES {
            let text = text(page);
            read.extend(links(&text).map(|link| led_to(page, link)));
        }
        read.retain(|place| !FOR_DEVELOPERS.contains(&place.as_str()));
        assert!(read.len() > PAGES.len(), "{read:#?}");
        for place in read {
            for format in ["deb", "rpm"] {
                let installed = format!("/usr/share/doc/pericard/{place}");
                let held = holds(&description, format, &installed);
                assert!(held, "no .{format} holds {installed}");
            }
        }
    }

    /// Where the manual says that the script lies which verifies an exported audit log.
    const VERIFIER: &str = "/usr/share/pericard/audit/verify.py";

    #[test]
    fn what_verifies_an_audit_log_is_installed_where_the_manual_says() {
        let text = |path: &str| std::fs::read_to_string(crate::tree().join(path)).expect(path);
        assert!(text("packaging/man/pericard.1").contains(VERIFIER));
        let description = text("packaging/nfpm/pericard.yaml");
        for format in ["deb", "rpm"] {
            assert!(
                holds(&description, format, VERIFIER),
                "no .{format} holds it"
            );
        }
    }

    #[test]
    fn in_ci_nothing_is_passed_over() {
        let script = Path::new("packaging/boot/test");
        assert!(passed_over(script, "only root may".into(), false).is_ok());
        let failed = passed_over(script, "only root may".into(), true).unwrap_err();
        assert!(failed.to_string().contains("only root may"), "{failed}");
    }
}
