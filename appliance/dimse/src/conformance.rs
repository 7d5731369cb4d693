//! The conformance statement (PS3.2), as far as it follows from what the code negotiates: its tables are written from the
//! tables that negotiation reads, so that neither can say what the other does not do.

use crate::classes::{self, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE};
use crate::config::{DimseConfig, Limits};
use crate::service::{Service, TABLE};
use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::{StandardSopClassDictionary, uids};
use pericard_dicom::deidentify::{EDITION, NOT_OFFERED, OPTIONS_EDITION};
use std::fmt::Write as _;

/// What every storage SOP class of the standard begins with.
const STORAGE_ROOT: &str = "1.2.840.10008.5.1.4.1.1";
/// The highest numbers behind it, level by level, that the standard has given out or will soon.
const STORAGE_NUMBERS_MAX: [u32; 3] = [700, 60, 10];

/// The statement, in Markdown, in the order of PS3.2 annex N.
#[must_use]
pub fn conformance(config: &DimseConfig) -> String {
    let mut text = String::from(INTRODUCTION);
    services(&mut text);
    text.push_str(MODEL);
    initiated(&mut text);
    text.push_str(ACCEPTED);
    accepted_contexts(&mut text);
    storage(&mut text, config);
    text.push_str(BEHAVIOUR);
    limits(&mut text, &config.limits);
    text.push_str(CONFIGURATION);
    deidentification(&mut text);
    text.push_str(ANNEXES);
    text
}

/// What the export does and what it does not.
fn deidentification(text: &mut String) {
    let options = NOT_OFFERED.map(|(code, name)| format!("{name} ({code})"));
    let _ = writeln!(
        text,
        "\nDe-identification for export is by the command line: the Basic Application Confidentiality Profile of PS3.15 annex E, \
         attributes by table E.1-1 of {EDITION}, options by the edition of {OPTIONS_EDITION}, Clean Pixel Data with a text spotting \
         model. Declared restrictions: {} are not offered; what they would clean is taken out, or keeps the image from going out.",
        options.join(", ")
    );
}

/// The network services of the overview: who is user and who is provider.
fn services(text: &mut String) {
    text.push_str(
        "\n### Network services\n\n| SOP class | UID | user (SCU) | provider (SCP) |\n|---|---|---|---|\n",
    );
    let uses = |uid: &str| INITIATED.iter().any(|of| of.uid == uid);
    let mut row = |uid: &str, is_provider: bool| {
        let word = |is: bool| if is { "yes" } else { "no" };
        // Writing into a String does not fail.
        let _ = writeln!(
            text,
            "| {} | `{uid}` | {} | {} |",
            keyword(uid),
            word(uses(uid)),
            word(is_provider)
        );
    };
    for (uid, _) in TABLE {
        row(uid, true);
    }
    for of in INITIATED {
        if of.uid != STORAGE && TABLE.iter().all(|(uid, _)| *uid != of.uid) {
            row(of.uid, false);
        }
    }
    text.push_str("| every storage class of section 3.4 | | yes | yes |\n");
}

/// What an association of ours is asked for.
struct Initiated {
    uid: &'static str,
    activity: &'static str,
    when: &'static str,
    roles: Taken,
    syntaxes: Proposed,
}

/// Which roles we take.
#[derive(Clone, Copy, PartialEq)]
enum Taken {
    User,
    UserAndReports,
    UserAndStorage,
}

impl Taken {
    const fn said(self) -> &'static str {
        match self {
            Self::User => "SCU",
            Self::UserAndReports => "SCU; SCP by role selection for reports",
            Self::UserAndStorage => "SCU; SCP of storage by role selection",
        }
    }
}

/// In which transfer syntaxes.
#[derive(Clone, Copy, PartialEq)]
enum Proposed {
    Implicit,
    Both,
    BothAndNine,
    Own,
    OwnAndOther,
}

impl Proposed {
    const fn said(self) -> &'static str {
        match self {
            Self::Implicit => "implicit",
            Self::Both => "explicit, implicit",
            Self::BothAndNine => "explicit, implicit; objects in nine transfer syntaxes",
            Self::Own => "the file's own",
            Self::OwnAndOther => "the object's own, and the other uncompressed one",
        }
    }
}

/// Stands for every storage class.
const STORAGE: &str = "";

#[rustfmt::skip] // a table
const INITIATED: &[Initiated] = &[
    Initiated { uid: crate::classes::VERIFICATION, activity: "verify", when: "a person asks",
        roles: Taken::User, syntaxes: Proposed::Implicit },
    Initiated { uid: STORAGE, activity: "deliver results, answer a C-MOVE", when: "a result is kept; a peer asks",
        roles: Taken::User, syntaxes: Proposed::OwnAndOther },
    Initiated { uid: STORAGE, activity: "submit files", when: "a person asks",
        roles: Taken::User, syntaxes: Proposed::Own },
    Initiated { uid: uids::STORAGE_COMMITMENT_PUSH_MODEL, activity: "ask for commitment, report commitment",
        when: "results were delivered to a peer with `commit`; a peer that listens asked us", roles: Taken::UserAndReports,
        syntaxes: Proposed::Implicit },
    Initiated { uid: crate::worklist::MODEL, activity: "read a worklist", when: "every `worklist_interval_s`",
        roles: Taken::User, syntaxes: Proposed::Both },
    Initiated { uid: crate::counting::MODEL, activity: "count at the source, find earlier studies",
        when: "a study arrives and the peer `counts`; a rule asks for `priors`", roles: Taken::User, syntaxes: Proposed::Both },
    Initiated { uid: uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET, activity: "fetch earlier studies",
        when: "a rule asks for `priors` and the peer has `fetch` with `get`", roles: Taken::UserAndStorage,
        syntaxes: Proposed::BothAndNine },
    Initiated { uid: crate::moving_priors::MODEL, activity: "fetch earlier studies",
        when: "as above, with `move`; the destination is our own title", roles: Taken::User, syntaxes: Proposed::Both },
];

fn initiated(text: &mut String) {
    text.push_str(
        "\n### 3.2 Association initiation policy\n\nOne operation at a time over each association; one worker for each peer and activity, so that one peer that is down \
         holds up no other. Activities are tried again with growing pauses until the peer is there.\n\n\
         | activity | when | SOP class | roles | transfer syntaxes |\n|---|---|---|---|---|\n",
    );
    for of in INITIATED {
        let class = match of.uid {
            STORAGE => "every storage class of section 3.4".to_owned(),
            uid => keyword(uid).to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {class} | {} | {} |",
            of.activity,
            of.when,
            of.roles.said(),
            of.syntaxes.said()
        );
    }
    text.push_str(INITIATED_BEHAVIOUR);
}

/// The services besides storage: abstract syntax, and who may use it.
fn accepted_contexts(text: &mut String) {
    text.push_str("\n| SOP class | UID | a peer needs |\n|---|---|---|\n");
    for (uid, service) in TABLE {
        let right = match service {
            Service::Verification => "to be admitted",
            Service::Storage | Service::Commitment => "`store`",
            Service::Find(_) => "`query`",
            Service::Move(_) | Service::Get(_) => "`retrieve`",
        };
        let _ = writeln!(text, "| {} | `{uid}` | {right} |", keyword(uid));
    }
    let _ = writeln!(
        text,
        "\nIdentifiers and commitment information: Explicit VR Little Endian (`{EXPLICIT_LE}`), Implicit VR Little Endian \
         (`{IMPLICIT_LE}`) and Explicit VR Big Endian (`{EXPLICIT_BE}`), whichever the requestor names first."
    );
}

fn storage(text: &mut String, config: &DimseConfig) {
    text.push_str(
        "\n### 3.4 Storage classes\n\nAs SCP: every class below, in every transfer syntax of the standard, the first that the requestor names; what is kept \
         is what was sent, byte for byte (level 2: all elements, private ones too). As SCU: the same classes, each object in its own transfer syntax, and uncompressed ones also \
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
            "the least of a message that must come, measured over the time for two PDUs",
            limits.message_kib_per_s_min.into(),
            " KiB/s",
        ),
        (
            "silence between two messages",
            seconds(limits.idle_timeout),
            " s",
        ),
        ("answers to one query", limits.answers_max as u64, ""),
    ];
    text.push_str("\n### 3.6 Limits\n\n| what | limit |\n|---|---|\n");
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
    Written by a test from the tables that the code negotiates with; do not edit. In the order of PS3.2 annex N.\n\n\
    ## 1 Overview\n\n\
    One application entity, `PERICARD` by default, takes and starts associations over TCP, and over TLS 1.2 and 1.3 when it has a \
    certificate. It receives studies, has models look at them, and sends the results. No media interchange, no print, no \
    Modality Performed Procedure Step. DICOMweb (STOW-RS, QIDO-RS, WADO-RS, UPS-RS) is a door of its own, with [a statement of its \
    own](../api/CONFORMANCE.md), described at `/api/v1/openapi.json`.\n";

const MODEL: &str = "\n## 2 Implementation model\n\n\
    ```text\n\
    modality, archive --C-STORE--> PERICARD --models--> results --C-STORE--> archive, workstation\n\
    archive, workstation --C-FIND, C-MOVE, C-GET, N-ACTION--> PERICARD\n\
    PERICARD --C-FIND (worklist), C-FIND, C-GET, C-MOVE (earlier studies), N-ACTION (commitment)--> RIS, archive\n\
    ```\n\n\
    Real-world activities follow in this order: a study arrives; it is complete when no association is open over which it came, \
    its source has no more of it, what was ordered and what its rule requires is there, and last when nothing came for as long as \
    its rule says; earlier studies are fetched where the rule asks for them; models run; results are delivered; commitment is \
    asked for. An object that comes later makes a new revision, whose results name those that they supersede.\n\n\
    ## 3 Application entity specification\n\n### 3.1 General\n\n\
    - Application context `1.2.840.10008.3.1.1.1`; one transfer syntax is accepted for each context.\n\
    - **Asynchronous operations**: up to 16 requests ahead, answered in their order; 1 where objects are retrieved by C-GET. We \
    invoke one at a time.\n\
    - **Implementation**: class UID and version name as in every A-ASSOCIATE PDU and file of ours.\n\
    - **Extended negotiation**: relational queries and retrievals are agreed to where they are offered, and answered where they are \
    not; nothing else is extended. SCP/SCU role selection is answered for storage and storage commitment. User identity is ignored: who calls, its title, address \
    and certificate say.\n";

const INITIATED_BEHAVIOUR: &str = "\n\
    - **Delivery**: warnings (Bxxx, 0107, 0116, 0001) count as delivered. A7xx, 0110, 0124 and 0213 are tried again; every other status \
    is final for that object and destination, and shown.\n\
    - **Commitment**: results sent to a peer with `commit` are asked about until it promises; what it does not keep is sent again. \
    Every question has a transaction of its own; a report is taken over any association, before and after the answer to our \
    question, of the latest transaction or an earlier one (the last 200 of an object), and while we release the association, where \
    it counts and gets no answer (PS3.8). A report that comes again is answered 0000 and changes nothing; of what was not asked, or \
    was sent again since: 0112.\n\
    - **Worklist**: matching keys: Scheduled Procedure Step Start Date, from the day before to the day after. Return keys: Modality, \
    Scheduled Station AE Title, start time, step ID and status; Accession Number, Patient ID, Study Instance UID, Requested \
    Procedure ID and Priority. STAT and HIGH make a study urgent. At most 5000 entries, then C-CANCEL. The patient's name is not asked for.\n\
    - **Count**: SERIES level, Number of Series Related Instances; series that we made do not count.\n\
    - **Earlier studies**: STUDY level by Patient ID and a range of Study Dates; the answers' Patient ID is compared. What is beyond the \
    rule's budget (studies, objects, bytes, age, time) is not asked for or ended by C-CANCEL. Where neither C-GET nor C-MOVE serves, \
    WADO-RS under the peer's `web` address (https, or http on this very machine), when its `fetch` says so.\n";

const ACCEPTED: &str = "\n### 3.3 Association acceptance policy\n\n\
    Calling title and address must be a configured peer's; the called title must be ours. A peer that is not \
    configured may at most send, and only from this machine.\n";

const BEHAVIOUR: &str = "\n### 3.5 Behaviour\n\n\
    - **Verification**: 0000.\n\
    - **Storage**: 0000 only when the object is on disk and its row and audit line are committed. A700-A702: try again. A900: not what \
    was announced. C000: not readable. C003: too large. 0124: not allowed.\n\
    - **Query**: single value, list of UIDs, wildcard, range, sequence, universal and empty value matching; names match in any case, \
    whole or by component group. Every attribute of the objects may be a key or be returned; sequences too. Relational queries are answered. \
    Fuzzy matching is not. C-CANCEL is heeded between two answers. Beyond the answers of section 3.6: A700.\n\
    - **Retrieval**: received objects and results, at patient (patient root only), study, series and image level, lists of UIDs \
    included; keys of the levels above narrow what is sent, in the patient root Patient ID too. C-MOVE goes to configured peers only (else A801), with pending responses after every object; 0000, B000 with the failed list, \
    A702 when nothing could be sent, FE00 when cancelled. C-GET sends in the contexts that the peer takes as SCP.\n\
    - **Storage commitment**: a request is answered from what is on disk; the report goes over an association of ours when the peer's port \
    is configured, and else over the one that asked. Failure reasons 0112, 0119, 0110.\n";

const CONFIGURATION: &str = "\n## 4 Network interfaces\n\nTCP/IP, IPv4 and IPv6, the host's own stack. Titles are mapped to addresses in the \
    configuration file, section `[[peers]]`, where host names are resolved when they are needed.\n\n\
    ## 5 Media interchange\n\nNone.\n\n\
    ## 6 Character sets\n\nEvery Specific Character Set of the standard, with code extensions, is kept as received, and read and \
    written. Answers are in the character set of the query where it holds them, else in ASCII, ISO_IR 100 or ISO_IR 192. Results copy \
    patient and study byte for byte in the source's set where it holds what we add, and are else in ISO_IR 192.\n\n\
    ## 7 Security\n\nOver TLS both sides show certificates (PS3.15 annex B: BCP 195). A peer with certificates of its own calls and is called over TLS only and must \
    show one of them, signed by a configured authority; a peer without is never heard over TLS. Certificates are compared by SHA-256; the \
    names in them are not looked at. The web server of a peer's `web` address shows one of `web_certificates`; without any, one of \
    `certificates`; without those either, one that a configured authority signed for the host's name. No revocation lists. Cipher suites: those of TLS 1.3, and ECDHE with AES-GCM or ChaCha20-Poly1305 of TLS \
    1.2. Every association that is refused, every query and every \
    retrieval is a line of the audit log.\n";

const ANNEXES: &str = "\n## 8 Annexes\n\nResults are Comprehensive 3D SR (TID 1500), Segmentation, Grayscale or, for images in colour, Color Softcopy Presentation State, Secondary Capture, Key Object \
    Selection and Encapsulated PDF, as the rule asks; `appliance/dicom` builds them, and dciodvfy finds no error in them. Private attributes: none. \
    Coded terms: DCM, SCT, UCUM, and `99PERICARD` for what has no standard code.\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::Archive;
    use crate::association::Roles;
    use crate::negotiation::{Calling, Held, accepted};
    use crate::part10::FileHead;
    use crate::peer::{Peer, Rights};
    use crate::request::{Caller, Proposal, RequestLimits};
    use crate::searching::proposal;
    use crate::{
        commitment, counting, echo, fetching, getting_priors, moving_priors, sending, submit,
        worklist,
    };
    use dicom_ul::pdu::{AssociationRQ, PresentationContextProposed, UserVariableItem};
    use pericard_domain::ae::AeTitle;
    use pericard_domain::study::ObjectIdentity;
    use pericard_domain::time::{StandingClock, Timestamp};
    use pericard_domain::uid::InstanceUid;
    use pericard_store::{Store, StoreConfig};
    use std::path::PathBuf;
    use std::sync::Arc;

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

    /// With what is held behind the door, as it always is but in tests.
    fn config_with_archive() -> (tempfile::TempDir, DimseConfig) {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreConfig {
            dir: dir.path().to_owned(),
            audit_origin: "pericard.test/audit".into(),
            group_commit_window_us: 0,
            free_space_floor_mib: 1,
        };
        let clock = StandingClock::new(Timestamp::from_millis(0));
        let mut config = config();
        let caller = Caller {
            ae_title: config.ae_title.clone(),
            limits: RequestLimits::default(),
            tls: None,
        };
        config.archive = Some(Archive {
            store: Store::open(store, Arc::new(clock)).unwrap(),
            caller,
        });
        (dir, config)
    }

    /// Every UID of the statement's tables that is said to be provided is proposed, and accepted from whoever has the right
    /// that is stated, and from nobody else.
    #[test]
    fn what_is_stated_is_negotiated() {
        let (_dir, config) = config_with_archive();
        let statement = conformance(&config);
        let accepted = statement.split_once("### 3.3").unwrap().1;
        let rows = |text: &'static str| {
            let lines = accepted.lines().filter(move |line| line.starts_with("| "));
            lines.filter_map(move |line| {
                let uid = line.split('`').nth(1)?;
                let needs = line.split(" | ").nth(2)?;
                (needs.trim_end_matches(" |") == text).then_some(uid)
            })
        };
        let storage = accepted.split_once("### 3.4").unwrap().1;
        let storage = storage.lines().filter(|line| line.starts_with("| "));
        let storage: Vec<&str> = storage.filter_map(|line| line.split('`').nth(1)).collect();
        assert!(storage.len() > 150, "{}", storage.len());
        let none = Rights {
            store: false,
            query: false,
            retrieve: false,
        };
        let store = Rights {
            store: true,
            ..none
        };
        let query = Rights {
            query: true,
            ..none
        };
        let retrieve = Rights {
            retrieve: true,
            ..none
        };
        let mut services = 0;
        for (needed, with, without) in [
            ("to be admitted", none, None),
            ("`store`", store, Some([query, retrieve])),
            ("`query`", query, Some([store, retrieve])),
            ("`retrieve`", retrieve, Some([store, query])),
        ] {
            let uids: Vec<&str> = rows(needed).collect();
            assert!(!uids.is_empty(), "{needed}");
            assert_eq!(
                contexts(&uids, with, &config),
                uids.len(),
                "{needed}: {uids:?}"
            );
            for without in without.into_iter().flatten() {
                assert_eq!(contexts(&uids, without, &config), 0, "{needed}: {uids:?}");
            }
            services += uids.len();
        }
        assert_eq!(services, TABLE.len(), "every service is stated");
        for chunk in storage.chunks(120) {
            assert_eq!(contexts(chunk, store, &config), chunk.len());
            assert_eq!(
                contexts(
                    chunk,
                    Rights {
                        store: false,
                        ..Rights::ALL
                    },
                    &config
                ),
                0
            );
        }
    }

    /// What the table of section 3.2 says of each activity is what its caller proposes.
    #[test]
    fn what_is_stated_as_initiated_is_proposed() {
        for of in INITIATED {
            let proposals = proposed(of.activity, of.uid);
            let about = format!("{} {}", of.activity, of.uid);
            let first = &proposals[0];
            let stored = uids::CT_IMAGE_STORAGE;
            let uid = if of.uid == STORAGE { stored } else { of.uid };
            assert_eq!(first.abstract_syntax, uid, "{about}");
            let roles: Vec<Roles> = proposals.iter().map(|p| p.roles).collect();
            match of.roles {
                Taken::User => assert!(roles.iter().all(|r| *r == Roles::USER), "{about}"),
                Taken::UserAndReports => assert_eq!(roles, [Roles::USER, Roles::PROVIDER]),
                Taken::UserAndStorage => {
                    assert_eq!(roles[0], Roles::USER, "{about}");
                    assert!(roles[1..].iter().all(|r| *r == Roles::PROVIDER), "{about}");
                    let is_stored =
                        |p: &Proposal| classes::is_stored(&p.abstract_syntax, &config());
                    assert!(proposals.len() > 1 && proposals[1..].iter().all(is_stored));
                }
            }
            let both = [EXPLICIT_LE, IMPLICIT_LE];
            let in_both = |p: &Proposal| p.transfer_syntaxes == both;
            match of.syntaxes {
                Proposed::Implicit => {
                    let implicit = |p: &Proposal| p.transfer_syntaxes == [IMPLICIT_LE];
                    assert!(proposals.iter().all(implicit), "{about}");
                }
                Proposed::Both => assert!(proposals.iter().all(in_both), "{about}"),
                Proposed::BothAndNine => {
                    assert!(in_both(first), "{about}");
                    assert!(
                        proposals[1..]
                            .iter()
                            .all(|p| p.transfer_syntaxes.len() == 9)
                    );
                }
                Proposed::Own => assert_eq!(one_each(&proposals), [EXPLICIT_LE], "{about}"),
                Proposed::OwnAndOther => assert_eq!(one_each(&proposals), both, "{about}"),
            }
        }
    }

    /// Somebody who could write objects anew.
    #[derive(Debug)]
    struct Anybody;

    impl sending::Rewriting for Anybody {
        fn rewritten(&self, _: &InstanceUid, _: PathBuf, _: bool) -> sending::Rewritten {
            Box::pin(async { Err("nobody is asked".into()) })
        }
    }

    fn one_each(proposals: &[Proposal]) -> Vec<&str> {
        assert!(proposals.iter().all(|p| p.transfer_syntaxes.len() == 1));
        let each = proposals.iter().flat_map(|p| &p.transfer_syntaxes);
        each.map(String::as_str).collect()
    }

    /// What the caller of that activity proposes, in every variety; for one CT image, where there are objects.
    fn proposed(activity: &str, uid: &str) -> Vec<Proposal> {
        let object = ObjectIdentity {
            study: "1.2".parse().unwrap(),
            series: "1.2.1".parse().unwrap(),
            instance: "1.2.1.1".parse().unwrap(),
            sop_class: uids::CT_IMAGE_STORAGE.parse().unwrap(),
            transfer_syntax: EXPLICIT_LE.parse().unwrap(),
        };
        let is_get = uid == uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET;
        match activity {
            "verify" => vec![echo::proposal()],
            "deliver results, answer a C-MOVE" => sending::proposals(&object, 1, Some(&Anybody)),
            "submit files" => vec![submit::proposal(&FileHead {
                sop_class: object.sop_class,
                instance: object.instance,
                transfer_syntax: object.transfer_syntax,
                data_offset: 0,
                data_bytes: 1,
            })],
            "ask for commitment, report commitment" => [Roles::USER, Roles::PROVIDER]
                .map(commitment::proposal)
                .to_vec(),
            "read a worklist" => vec![proposal(worklist::MODEL)],
            "count at the source, find earlier studies" => {
                assert_eq!(fetching::MODEL, counting::MODEL);
                vec![proposal(counting::MODEL)]
            }
            "fetch earlier studies" if is_get => getting_priors::proposals(&[]),
            "fetch earlier studies" => vec![proposal(moving_priors::MODEL)],
            other => panic!("what does it propose to {other}?"),
        }
    }

    #[test]
    fn what_is_not_stated_as_accepted_is_refused() {
        // Print, a performed step, instance availability, a procedure step, a class of nobody; and a worklist, of which we are a
        // user only.
        let others = [
            "1.2.840.10008.5.1.1.9",
            "1.2.840.10008.3.1.2.3.3",
            "1.2.840.10008.5.1.4.33",
            "1.2.840.10008.5.1.4.34.6.1",
            "1.2.3.4",
            "1.2.840.10008.5.1.4.31",
        ];
        let (_dir, config) = config_with_archive();
        assert_eq!(contexts(&others, Rights::ALL, &config), 0);
    }

    #[test]
    fn images_are_taken_in_every_transfer_syntax_of_the_standard_and_in_no_other() {
        let config = config();
        let ct = ["1.2.840.10008.5.1.4.1.1.2"];
        for (end, taken) in [
            ("", 1),
            (".1", 1),
            (".1.99", 1),
            (".2", 1),
            (".4.50", 1),
            (".4.57", 1),
            (".4.80", 1),
            (".4.91", 1),
            (".4.102", 1),
            (".4.203", 1),
            (".5", 1),
            // The next number is storage commitment's instance.
            ("0.1.1", 0),
        ] {
            let syntax = format!("1.2.840.10008.1.2{end}");
            assert_eq!(
                contexts_in(&syntax, &ct, Rights::STORE, &config),
                taken,
                "{syntax}"
            );
        }
        assert_eq!(contexts_in("1.2.3.4", &ct, Rights::STORE, &config), 0);
    }

    fn contexts(uids: &[&str], rights: Rights, config: &DimseConfig) -> usize {
        contexts_in(IMPLICIT_LE, uids, rights, config)
    }

    fn contexts_in(syntax: &str, uids: &[&str], rights: Rights, config: &DimseConfig) -> usize {
        let proposed = uids.iter().zip((1..=u8::MAX).step_by(2)).map(|(uid, id)| {
            PresentationContextProposed {
                id,
                abstract_syntax: (*uid).to_owned(),
                transfer_syntaxes: vec![syntax.to_owned()],
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
