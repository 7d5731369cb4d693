//! What is held of an object and of a study.

use crate::digest::Digest;
use crate::time::Timestamp;
use crate::uid::{InstanceUid, SeriesUid, SopClassUid, StudyUid, TransferSyntaxUid};
use serde::{Deserialize, Serialize};

/// What identifies a DICOM object and says how it is encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectIdentity {
    /// The study that it says it belongs to.
    pub study: StudyUid,
    /// The series within the study.
    pub series: SeriesUid,
    /// The object itself.
    pub instance: InstanceUid,
    /// What kind of object it is.
    pub sop_class: SopClassUid,
    /// How its data set is encoded.
    pub transfer_syntax: TransferSyntaxUid,
}

/// What an object's header says that rules, lists and queries ask for. Patient data: never outside the store and the
/// answers to those who may read them.
///
/// Texts are decoded from the object's character set and stripped of padding; an absent or empty attribute is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceFacts {
    /// Modality (0008,0060).
    pub modality: Option<String>,
    /// Body Part Examined (0018,0015).
    pub body_part: Option<String>,
    /// Study Description (0008,1030).
    pub study_description: Option<String>,
    /// Series Description (0008,103E).
    pub series_description: Option<String>,
    /// Study Date (0008,0020), `YYYYMMDD`.
    pub study_date: Option<String>,
    /// Study Time (0008,0030).
    pub study_time: Option<String>,
    /// Accession Number (0008,0050).
    pub accession_number: Option<String>,
    /// Study ID (0020,0010).
    pub study_id: Option<String>,
    /// Referring Physician's Name (0008,0090).
    pub referring_physician: Option<String>,
    /// Patient ID (0010,0020).
    pub patient_id: Option<String>,
    /// Patient's Name (0010,0010).
    pub patient_name: Option<String>,
    /// Patient's Birth Date (0010,0030).
    pub patient_birth_date: Option<String>,
    /// Patient's Sex (0010,0040).
    pub patient_sex: Option<String>,
    /// Patient's Age (0010,1010), as in `034Y`.
    pub patient_age: Option<String>,
    /// Series Number (0020,0011).
    pub series_number: Option<String>,
    /// Instance Number (0020,0013).
    pub instance_number: Option<String>,
    /// Manufacturer (0008,0070).
    pub manufacturer: Option<String>,
    /// Image Type (0008,0008), its values joined by a backslash.
    pub image_type: Option<String>,
    /// Rows (0028,0010), pixels.
    pub rows: Option<u32>,
    /// Columns (0028,0011), pixels.
    pub columns: Option<u32>,
    /// Number of Frames (0028,0008).
    pub frames: Option<u32>,
    /// Performed Procedure Step Start Date (0040,0244), `YYYYMMDD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performed_date: Option<String>,
    /// Performed Procedure Step Start Time (0040,0245).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performed_time: Option<String>,
    /// Request Attributes Sequence (0040,0275): what it was made in answer to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestFacts>,
}

/// One item of the Request Attributes Sequence (0040,0275).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestFacts {
    /// Scheduled Procedure Step ID (0040,0009).
    pub step_id: Option<String>,
    /// Requested Procedure ID (0040,1001).
    pub procedure_id: Option<String>,
}

/// One object of a study, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it is.
    pub identity: ObjectIdentity,
    /// What its header says.
    pub facts: InstanceFacts,
    /// SHA-256 of the file, byte for byte.
    pub digest: Digest,
    /// Length of the file.
    pub size_bytes: u64,
    /// 1 for the first bytes received under this UID; more when other bytes came later under the same UID.
    pub revision: u32,
    /// When it was admitted.
    pub received_at: Timestamp,
    /// Whether the appliance itself made it.
    pub is_result: bool,
}

/// Where a study stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudyState {
    /// Objects may still arrive.
    Arriving,
    /// Taken as complete at its latest revision; its jobs are planned.
    Complete,
}

/// A study, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Study {
    /// Which study.
    pub study: StudyUid,
    /// Where it stands.
    pub state: StudyState,
    /// How many times it has been taken as complete; each time with other objects than before.
    pub revision: u32,
    /// Received objects, without the appliance's own results.
    pub instances: u32,
    /// The appliance's own results.
    pub results: u32,
    /// When its first object was admitted.
    pub first_received_at: Timestamp,
    /// When its latest object was admitted.
    pub last_received_at: Timestamp,
    /// What the header of its first object says.
    pub facts: InstanceFacts,
}
