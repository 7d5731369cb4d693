//! Which abstract and transfer syntaxes are taken.

use crate::config::DimseConfig;
use dicom_core::dictionary::UidDictionary;
use dicom_dictionary_std::StandardSopClassDictionary;
use pericard_domain::uid::{SopClassUid, TransferSyntaxUid};

pub(crate) const VERIFICATION: &str = "1.2.840.10008.1.1";
pub(crate) const IMPLICIT_LE: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT_LE: &str = "1.2.840.10008.1.2.1";
pub(crate) const EXPLICIT_BE: &str = "1.2.840.10008.1.2.2";

/// What every transfer syntax of the standard begins with.
const STANDARD_TRANSFER_SYNTAX: &str = "1.2.840.10008.1.2";
/// DICOMDIR: a directory of files, never an object of a study.
const MEDIA_STORAGE_DIRECTORY: &str = "1.2.840.10008.1.3.10";

/// Whether objects of this class are taken: every Storage SOP class of the standard, retired ones too, and those that
/// the configuration adds.
pub(crate) fn is_stored(uid: &str, config: &DimseConfig) -> bool {
    let Ok(class) = SopClassUid::new(uid) else {
        return false;
    };
    config.further_sop_classes.contains(&class)
        || (is_standard_storage(class.as_str()) && class.as_str() != MEDIA_STORAGE_DIRECTORY)
}

fn is_standard_storage(uid: &str) -> bool {
    StandardSopClassDictionary.by_uid(uid).is_some_and(|entry| {
        // The keyword says what kind of class it is; the dictionary has no other word for it.
        entry.alias.ends_with("Storage") || entry.alias.ends_with("StorageRetired")
            || entry.alias.contains("StorageForP") // ...ForPresentation, ...ForProcessing
            || entry.alias.contains("StorageTrial") // draft classes that old devices still send
    })
}

/// The transfer syntax to take out of those offered: the sender's first that the standard knows, since what is kept is
/// what was sent. A private one cannot be read, so it is left for the sender to offer something else beside it.
pub(crate) fn chosen(offered: &[String]) -> Option<TransferSyntaxUid> {
    offered
        .iter()
        .filter_map(|uid| TransferSyntaxUid::new(uid).ok())
        .find(|uid| {
            uid.as_str()
                .strip_prefix(STANDARD_TRANSFER_SYNTAX)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
}

/// The transfer syntax to take for an identifier: the sender's first of those that are not compressed.
pub(crate) fn chosen_plain(offered: &[String]) -> Option<TransferSyntaxUid> {
    offered
        .iter()
        .filter_map(|uid| TransferSyntaxUid::new(uid).ok())
        .find(|uid| [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE].contains(&uid.as_str()))
}

/// The transfer syntax in which to send objects of a class: of those offered the one that most of ours are in, and else
/// one that ours can be written in.
pub(crate) fn chosen_to_send(
    offered: &[String],
    held: &[TransferSyntaxUid],
) -> Option<TransferSyntaxUid> {
    let offered: Vec<TransferSyntaxUid> = offered
        .iter()
        .filter_map(|uid| TransferSyntaxUid::new(uid).ok())
        .collect();
    let most_held = held.iter().find(|syntax| offered.contains(syntax)).cloned();
    let plain = || {
        let is_plain =
            |uid: &&TransferSyntaxUid| [EXPLICIT_LE, IMPLICIT_LE].contains(&uid.as_str());
        offered.iter().find(is_plain).cloned()
    };
    most_held.or_else(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pericard_domain::ae::AeTitle;

    fn config() -> DimseConfig {
        DimseConfig::new(AeTitle::new("HERE").unwrap())
    }

    #[test]
    fn storage_classes() {
        for stored in [
            "1.2.840.10008.5.1.4.1.1.2",      // CT
            "1.2.840.10008.5.1.4.1.1.1.1",    // DX for presentation
            "1.2.840.10008.5.1.4.1.1.1.2.1",  // MG for processing
            "1.2.840.10008.5.1.4.1.1.6",      // US, retired
            "1.2.840.10008.5.1.4.1.1.66.4",   // SEG
            "1.2.840.10008.5.1.4.1.1.88.34",  // 3D SR
            "1.2.840.10008.5.1.4.1.1.11.1",   // GSPS
            "1.2.840.10008.5.1.4.1.1.104.1",  // PDF
            "1.2.840.10008.5.1.4.1.1.9.1.1",  // ECG
            "1.2.840.10008.5.1.4.1.1.481.3",  // RTSTRUCT
            "1.2.840.10008.5.1.4.1.1.77.1.6", // whole slide
            "1.2.840.10008.5.1.4.1.1.66.7\0", // label map, padded
        ] {
            assert!(is_stored(stored, &config()), "{stored}");
        }
        for not in [
            VERIFICATION,
            MEDIA_STORAGE_DIRECTORY,
            "1.2.840.10008.1.20.1",         // storage commitment
            "1.2.840.10008.5.1.4.1.2.2.1",  // study root find
            "1.2.826.0.1.3680043.2.1545.1", // private
            "../etc",
        ] {
            assert!(!is_stored(not, &config()), "{not}");
        }
    }

    #[test]
    fn private_classes_are_taken_when_the_configuration_says_so() {
        let mut config = config();
        config.further_sop_classes =
            vec![SopClassUid::new("1.2.826.0.1.3680043.2.1545.1").unwrap()];
        assert!(is_stored("1.2.826.0.1.3680043.2.1545.1", &config));
    }

    #[test]
    fn the_senders_first_readable_syntax_is_chosen() {
        let chosen = |offered: &[&str]| {
            let offered: Vec<String> = offered.iter().map(|o| (*o).to_owned()).collect();
            chosen(&offered).map(|c| c.to_string())
        };
        let (jpeg, ge) = ("1.2.840.10008.1.2.4.70", "1.2.840.113619.5.2");
        assert_eq!(chosen(&[jpeg, IMPLICIT_LE]).as_deref(), Some(jpeg));
        assert_eq!(chosen(&[ge, IMPLICIT_LE]).as_deref(), Some(IMPLICIT_LE));
        assert_eq!(chosen(&[ge]), None);
        assert_eq!(chosen(&["1.2.840.10008.1.20"]), None);
        assert_eq!(chosen(&[]), None);
    }
}
