//! What a machine should be, as `firmware-config/` declares it.

use super::configured::Configured;
use super::probe::Probe;
use serde::Deserialize;

/// The profiles, built in: the doctor needs nothing installed.
#[rustfmt::skip] // a table
const PROFILES: [(&str, &str); 5] = [
    ("clinic-cpu", include_str!("../../../../firmware-config/profiles/clinic-cpu.toml")),
    ("gpu-24gb", include_str!("../../../../firmware-config/profiles/gpu-24gb.toml")),
    ("gpu-80gb", include_str!("../../../../firmware-config/profiles/gpu-80gb.toml")),
    ("gpu-mig", include_str!("../../../../firmware-config/profiles/gpu-mig.toml")),
    ("apple-silicon", include_str!("../../../../firmware-config/profiles/apple-silicon.toml")),
];

/// What several profiles include.
#[rustfmt::skip] // a table
const PARTS: [(&str, &str); 2] = [
    ("linux", include_str!("../../../../firmware-config/parts/linux.toml")),
    ("nvidia", include_str!("../../../../firmware-config/parts/nvidia.toml")),
];

/// A profile.
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) checks: Vec<Check>,
}

/// One line of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) severity: Severity,
    pub(super) probe: Probe,
    pub(super) why: String,
    pub(super) mend: String,
}

/// What it is when it is not as it should be: `fail` where patients' data or results are at stake, or nothing works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    Warn,
    Fail,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    name: String,
    summary: String,
    include: Vec<String>,
    check: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartFile {
    check: Vec<Check>,
}

impl Profile {
    /// The profile of that name.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let Some((_, text)) = PROFILES.iter().find(|(known, _)| *known == name) else {
            let known = Self::names().join(", ");
            return Err(format!("there is no profile {name:?}; there are {known}"));
        };
        let file: ProfileFile = toml::from_str(text).map_err(|e| format!("{name}: {e}"))?;
        let mut checks = Vec::new();
        for part in &file.include {
            let Some((_, text)) = PARTS.iter().find(|(known, _)| known == part) else {
                return Err(format!("{name}: includes {part:?}, which is not there"));
            };
            let part: PartFile = toml::from_str(text).map_err(|e| format!("{part}: {e}"))?;
            checks.extend(part.check);
        }
        checks.extend(file.check);
        Ok(Self {
            name: file.name,
            summary: file.summary,
            checks,
        })
    }

    /// The same, about the places that the configuration names.
    pub(super) fn about(mut self, configured: &Configured) -> Self {
        for check in &mut self.checks {
            check.probe.fill(configured);
            check.why = configured.filled(&check.why);
            check.mend = configured.filled(&check.mend);
        }
        self
    }

    pub(super) fn names() -> Vec<&'static str> {
        PROFILES.iter().map(|(name, _)| *name).collect()
    }
}
