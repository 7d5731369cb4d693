//! The conformance statement (PS3.2), as far as it follows from what the code negotiates: its tables are written from the
//! tables that negotiation reads, so that neither can say what the other does not do.

use crate::classes::{self, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE};
use crate::config::{DimseConfig, Limits};
use crate::service::{Service, TABLE};
use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::StandardSopClassDictionary;
use std::fmt::Write as _;

/// What every storage SOP class of the standard begins with.
const STORAGE_ROOT: &str = "1.2.840.10008.5.1.4.1.1";
/// The highest numbers behind it, level by level, that the standard has given out or will soon.
const STORAGE_NUMBERS_MAX: [u32; 3] = [700, 60, 10];

/// The statement, in Markdown.
#[must_use]
pub fn conformance(config: &DimseConfig) -> String {
    let mut text = String::from(INTRODUCTION);
    services(&mut text);
    storage(&mut text, config);
    text.push_str(BEHAVIOUR);
    limits(&mut text, &config.limits);
    text
}

/// The services besides storage: abstract syntax, who may use it, which roles.
fn services(text: &mut String) {
    text.push_str("\n## Services\n\n| SOP class | UID | SCU calls here as | a peer needs | we also call as |\n|---|---|---|---|---|\n");
    for (uid, service) in TABLE {
        let right = match service {
            Service::Verification => "to be admitted",
            Service::Storage | Service::Commitment => "`store`",
            Service::Find(_) => "`query`",
            Service::Move(_) | Service::Get(_) => "`retrieve`",
        };
        let ours = match service {
            Service::Verification => "SCU",
            Service::Commitment => "SCU (peers with `commit`), SCP by role selection (reports)",
            _ => "",
        };
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "| {} | `{uid}` | SCU | {right} | {ours} |",
            keyword(uid)
        );
    }
    let _ = writeln!(
        text,
        "\nIdentifiers and commitment information: Explicit VR Little Endian (`{EXPLICIT_LE}`), Implicit VR Little Endian \
         (`{IMPLICIT_LE}`) and Explicit VR Big Endian (`{EXPLICIT_BE}`), whichever the requestor names first."
    );
}

fn storage(text: &mut String, config: &DimseConfig) {
    text.push_str(
        "\n## Storage\n\nAs SCP: every class below, in every transfer syntax of the standard, the first that the requestor names; what is kept \
         is what was sent, byte for byte. As SCU: the same classes, each object in its own transfer syntax, and uncompressed ones also \
         in the other of Explicit and Implicit VR Little Endian. A peer that retrieves by C-GET takes the SCP role by role \
         selection. Private classes are taken when the configuration names them.\n\n| SOP class | UID |\n|---|---|\n",
    );
    for uid in storage_classes(config) {
        let _ = writeln!(text, "| {} | `{uid}` |", keyword(&uid));
    }
}

fn limits(text: &mut String, limits: &Limits) {
    let seconds = |duration: std::time::Duration| duration.as_secs();
    let rows = [
        ("associations at once", limits.associations_max as u64, ""),
        (
            "associations at once with one calling title",
            limits.associations_per_ae_max as u64,
            "",
        ),
        (
            "maximum PDU length offered (4096 to 1048576 can be configured)",
            limits.pdu_bytes_max.into(),
            " bytes",
        ),
        (
            "time for the request of an association (ARTIM)",
            seconds(limits.artim_timeout),
            " s",
        ),
        ("time for one PDU", seconds(limits.pdu_timeout), " s"),
        (
            "time for one message",
            seconds(limits.message_timeout),
            " s",
        ),
        (
            "silence between two messages",
            seconds(limits.idle_timeout),
            " s",
        ),
    ];
    text.push_str("\n## Limits\n\n| what | limit |\n|---|---|\n");
    for (what, limit, unit) in rows {
        let _ = writeln!(text, "| {what} | {limit}{unit} |");
    }
}

/// Every storage class that is taken, in the order of the numbers.
pub(crate) fn storage_classes(config: &DimseConfig) -> Vec<String> {
    let [first, second, third] = STORAGE_NUMBERS_MAX;
    let mut found = Vec::new();
    let mut take = |uid: String| {
        if classes::is_stored(&uid, config) {
            found.push(uid);
        }
    };
    for a in 1..=first {
        take(format!("{STORAGE_ROOT}.{a}"));
        for b in 1..=second {
            take(format!("{STORAGE_ROOT}.{a}.{b}"));
            for c in 1..=third {
                take(format!("{STORAGE_ROOT}.{a}.{b}.{c}"));
            }
        }
    }
    found
}

fn keyword(uid: &str) -> &'static str {
    StandardSopClassDictionary
        .by_uid(uid)
        .map_or("private", |entry| entry.alias)
}

const INTRODUCTION: &str = "# DICOM conformance statement\n\n\
    Written by a test from the tables that the code negotiates with; do not edit. One application entity, `PERICARD` by default, \
    takes and starts associations over TCP, and over TLS 1.2 and 1.3 when it has a certificate. Application context \
    `1.2.840.10008.3.1.1.1`.\n";

const BEHAVIOUR: &str = "\n## Behaviour\n\n\
    - **Admission**: calling title and address must be a configured peer's; the called title must be ours. A peer that is not \
    configured may at most send, and only from this machine.\n\
    - **Security**: over TLS both sides show certificates. A peer with certificates of its own calls and is called over TLS only and must \
    show one of them, signed by a configured authority; a peer without is never heard over TLS. Certificates are compared by SHA-256; the \
    names in them are not looked at. No revocation lists. Cipher suites: those of TLS 1.3, and ECDHE with AES-GCM or ChaCha20-Poly1305 of TLS \
    1.2.\n\
    - **Verification**: 0000.\n\
    - **Storage**: 0000 only when the object is on disk and its row and audit line are committed. A700-A702: try again. A900: not what \
    was announced. C000: not readable. C003: too large. 0124: not allowed.\n\
    - **Query**: single value, list of UIDs, wildcard, range, sequence, universal and empty value matching; names match in any case, \
    whole or by component group. Every attribute of the objects may be a key or be returned; sequences too. Relational queries are answered. \
    Fuzzy matching is not. Answers are in the character set of the query where it holds them, else in ASCII, ISO_IR 100 or ISO_IR \
    192. C-CANCEL is heeded between two answers. At most 10000 answers, then A700.\n\
    - **Retrieval**: received objects and results, at patient (patient root only), study, series and image level, lists of UIDs \
    included. C-MOVE goes to configured peers only (else A801), with pending responses after every object; 0000, B000 with the failed list, \
    A702 when nothing could be sent, FE00 when cancelled. C-GET sends in the contexts that the peer takes as SCP.\n\
    - **Storage commitment**: a request is answered from what is on disk; the report goes over an association of ours when the peer's port \
    is configured, and else over the one that asked. Failure reasons 0112, 0119, 0110. As SCU, results sent to a peer with `commit` are asked \
    about until it promises; what it does not keep is sent again; its reports are taken over either association.\n\
    - **Asynchronous operations**: up to 16 requests ahead, answered in their order; 1 where objects are retrieved by C-GET. We \
    invoke one at a time.\n\
    - **Character sets**: every Specific Character Set of the standard is kept as received; read and written are all but ISO-IR 159 and \
    203.\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::negotiation::{Calling, Held, accepted};
    use crate::peer::{Peer, Rights};
    use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed, UserVariableItem};
    use pericard_domain::ae::AeTitle;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFORMANCE.md");

    fn config() -> DimseConfig {
        DimseConfig::new(AeTitle::new("PERICARD").unwrap())
    }

    #[test]
    fn the_statement_is_what_the_tables_say() {
        let statement = conformance(&config());
        if std::env::var_os("PERICARD_WRITE_CONFORMANCE").is_some() {
            std::fs::write(GOLDEN, &statement).unwrap();
        }
        let kept = std::fs::read_to_string(GOLDEN).unwrap_or_default();
        assert!(
            kept == statement,
            "CONFORMANCE.md is not what the code does; write it anew by \
             `PERICARD_WRITE_CONFORMANCE=1 cargo test -p pericard-dimse --lib conformance` and read the difference"
        );
    }

    /// Every UID of the statement's tables is proposed; what storage says is accepted, nothing else of its kind is.
    #[test]
    fn what_is_stated_is_negotiated() {
        let config = config();
        let statement = conformance(&config);
        let stated: Vec<&str> = statement
            .lines()
            .filter(|line| line.starts_with("| ") && line.contains("| `1.2.840.10008"))
            .filter_map(|line| line.split('`').nth(1))
            .filter(|uid| Service::of(uid, &config).is_some_and(|service| !service.needs_archive()))
            .collect();
        assert!(stated.len() > 150, "{}", stated.len());
        for chunk in stated.chunks(120) {
            assert_eq!(contexts(chunk, Rights::STORE, &config), chunk.len());
            assert_eq!(
                contexts(
                    chunk,
                    Rights {
                        store: false,
                        ..Rights::ALL
                    },
                    &config
                ),
                usize::from(chunk.contains(&"1.2.840.10008.1.1"))
            );
        }
    }

    fn contexts(uids: &[&str], rights: Rights, config: &DimseConfig) -> usize {
        let proposed = uids.iter().zip((1..=u8::MAX).step_by(2)).map(|(uid, id)| {
            PresentationContextProposed {
                id,
                abstract_syntax: (*uid).to_owned(),
                transfer_syntaxes: vec![IMPLICIT_LE.to_owned()],
            }
        });
        let request = AssociationRQ {
            protocol_version: 1,
            calling_ae_title: "CT1".into(),
            called_ae_title: "PERICARD".into(),
            application_context_name: "1.2.840.10008.3.1.1.1".into(),
            presentation_contexts: proposed.collect(),
            user_variables: vec![UserVariableItem::MaxLength(16384)],
        };
        let title = AeTitle::new("CT1").unwrap();
        let peer = Peer::new("ct", title.clone(), "10.0.0.1".parse().unwrap(), None);
        let calling = Calling {
            title,
            rights,
            peer: Some(peer),
        };
        accepted(&request, &calling, &Held::new(), config)
            .unwrap()
            .contexts
            .len()
    }
}
