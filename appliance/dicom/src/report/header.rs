//! What every result object says besides its content: patient and study as in the source, our own series and
//! equipment, and what contributed.

use super::concept::{ACQUISITION_EQUIPMENT, Concept, PROCESSING_EQUIPMENT};
use super::{Analysis, Device};
use crate::source::Source;
use crate::write::{DataSet, data_set, derived_uid, empty, long_string, sequence, text};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;
use pericard_domain::time::Timestamp;

/// The attributes of the Patient, Clinical Trial Subject, General Study, Patient Study and Clinical Trial Study modules
/// (PS3.3 sections C.7.1 and C.7.2): copied as the source has them, so that the result lands beside it.
const COPIED: [Tag; 82] = [
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::CONSULTING_PHYSICIAN_NAME,
    tags::CONSULTING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::TIMEZONE_OFFSET_FROM_UTC,
    tags::STUDY_DESCRIPTION,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::PHYSICIANS_OF_RECORD,
    tags::PHYSICIANS_OF_RECORD_IDENTIFICATION_SEQUENCE,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::PHYSICIANS_READING_STUDY_IDENTIFICATION_SEQUENCE,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::ADMITTING_DIAGNOSES_CODE_SEQUENCE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::REFERENCED_PATIENT_SEQUENCE,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID,
    tags::TYPE_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::SOURCE_PATIENT_GROUP_IDENTIFICATION_SEQUENCE,
    tags::GROUP_OF_PATIENTS_IDENTIFICATION_SEQUENCE,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_BIRTH_TIME,
    tags::PATIENT_BIRTH_DATE_IN_ALTERNATIVE_CALENDAR,
    tags::PATIENT_DEATH_DATE_IN_ALTERNATIVE_CALENDAR,
    tags::PATIENT_ALTERNATIVE_CALENDAR,
    tags::PATIENT_SEX,
    tags::QUALITY_CONTROL_SUBJECT,
    OTHER_PATIENT_IDS_RETIRED,
    tags::OTHER_PATIENT_NAMES,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_SIZE_CODE_SEQUENCE,
    tags::PATIENT_BODY_MASS_INDEX,
    tags::MEASURED_AP_DIMENSION,
    tags::MEASURED_LATERAL_DIMENSION,
    tags::PATIENT_WEIGHT,
    tags::MEDICAL_ALERTS,
    tags::ALLERGIES,
    ETHNIC_GROUP_RETIRED,
    tags::OCCUPATION,
    tags::SMOKING_STATUS,
    tags::ADDITIONAL_PATIENT_HISTORY,
    tags::PREGNANCY_STATUS,
    tags::LAST_MENSTRUAL_DATE,
    tags::PATIENT_SPECIES_DESCRIPTION,
    tags::PATIENT_SPECIES_CODE_SEQUENCE,
    tags::PATIENT_SEX_NEUTERED,
    tags::PATIENT_BREED_DESCRIPTION,
    tags::PATIENT_BREED_CODE_SEQUENCE,
    tags::BREED_REGISTRATION_SEQUENCE,
    tags::STRAIN_DESCRIPTION,
    tags::RESPONSIBLE_PERSON,
    tags::RESPONSIBLE_PERSON_ROLE,
    tags::RESPONSIBLE_ORGANIZATION,
    tags::PATIENT_COMMENTS,
    tags::CLINICAL_TRIAL_SPONSOR_NAME,
    tags::CLINICAL_TRIAL_PROTOCOL_ID,
    tags::CLINICAL_TRIAL_PROTOCOL_NAME,
    tags::CLINICAL_TRIAL_SITE_ID,
    tags::CLINICAL_TRIAL_SITE_NAME,
    tags::CLINICAL_TRIAL_SUBJECT_ID,
    tags::CLINICAL_TRIAL_SUBJECT_READING_ID,
    tags::CLINICAL_TRIAL_TIME_POINT_ID,
    tags::CLINICAL_TRIAL_TIME_POINT_DESCRIPTION,
    tags::CONSENT_FOR_CLINICAL_TRIAL_USE_SEQUENCE,
    tags::PATIENT_IDENTITY_REMOVED,
    tags::DEIDENTIFICATION_METHOD,
    tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_ID,
    tags::REQUESTING_SERVICE,
    tags::REASON_FOR_VISIT,
    tags::ADMISSION_ID,
    tags::SERVICE_EPISODE_ID,
    tags::SERVICE_EPISODE_DESCRIPTION,
];

/// Retired, and still what many sources carry.
const OTHER_PATIENT_IDS_RETIRED: Tag = Tag(0x0010, 0x1000);
const ETHNIC_GROUP_RETIRED: Tag = Tag(0x0010, 0x2160);

/// Attributes that a result must have, if only empty (PS3.3, type 2).
const REQUIRED: [(Tag, VR); 9] = [
    (tags::STUDY_DATE, VR::DA),
    (tags::STUDY_TIME, VR::TM),
    (tags::ACCESSION_NUMBER, VR::SH),
    (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
    (tags::PATIENT_NAME, VR::PN),
    (tags::PATIENT_ID, VR::LO),
    (tags::PATIENT_BIRTH_DATE, VR::DA),
    (tags::PATIENT_SEX, VR::CS),
    (tags::STUDY_ID, VR::SH),
];

/// A result's own identity and place in its study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnSeries {
    pub(crate) modality: &'static str,
    pub(crate) number: u32,
    pub(crate) series: String,
    pub(crate) instance: String,
    pub(crate) instance_number: u32,
    pub(crate) sop_class: &'static str,
}

/// A moment in the time that a source's dates are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalTime {
    at: Timestamp,
    offset_min: i32,
}

impl LocalTime {
    /// The source's own offset from UTC when it states one, since it then holds for every time in the object; else
    /// the offset of the hospital's clocks, by which scanners tell the time too.
    pub(crate) fn new(at: Timestamp, source: &Source, hospital_offset_min: i32) -> Self {
        let stated = source
            .text(tags::TIMEZONE_OFFSET_FROM_UTC)
            .and_then(|text| offset_min(&text));
        Self {
            at,
            offset_min: stated.unwrap_or(hospital_offset_min),
        }
    }

    fn shifted(self) -> Timestamp {
        const MINUTE_MS: i64 = 60_000;
        Timestamp::from_millis(
            self.at
                .as_millis()
                .saturating_add(i64::from(self.offset_min) * MINUTE_MS),
        )
    }

    /// `YYYYMMDD`.
    pub(crate) fn date(self) -> String {
        self.shifted().dicom_date()
    }

    /// `HHMMSS`.
    pub(crate) fn time(self) -> String {
        self.shifted().dicom_time()
    }

    /// Date, time and offset (value representation DT).
    fn date_time(self) -> String {
        let (sign, minutes) = (
            if self.offset_min < 0 { '-' } else { '+' },
            self.offset_min.abs(),
        );
        format!(
            "{}{}{sign}{:02}{:02}",
            self.date(),
            self.time(),
            minutes / 60,
            minutes % 60
        )
    }
}

/// Everything that a result of any kind says besides its content.
pub(crate) fn header(analysis: &Analysis<'_>, own: &OwnSeries) -> DataSet {
    let mut object = copied(analysis.first_source().data_set());
    for element in [
        text(tags::SOP_CLASS_UID, VR::UI, own.sop_class),
        text(tags::SOP_INSTANCE_UID, VR::UI, &*own.instance),
        text(tags::INSTANCE_CREATION_DATE, VR::DA, analysis.moment.date()),
        text(tags::INSTANCE_CREATION_TIME, VR::TM, analysis.moment.time()),
        text(
            tags::INSTANCE_CREATOR_UID,
            VR::UI,
            device_uid(analysis.device),
        ),
        text(tags::CONTENT_DATE, VR::DA, analysis.moment.date()),
        text(tags::CONTENT_TIME, VR::TM, analysis.moment.time()),
        text(tags::MODALITY, VR::CS, own.modality),
        text(tags::SERIES_INSTANCE_UID, VR::UI, &*own.series),
        text(tags::SERIES_NUMBER, VR::IS, own.number.to_string()),
        text(
            tags::INSTANCE_NUMBER,
            VR::IS,
            own.instance_number.to_string(),
        ),
        text(
            tags::SERIES_DESCRIPTION,
            VR::LO,
            series_description(analysis),
        ),
        sequence(
            tags::CONTRIBUTING_EQUIPMENT_SEQUENCE,
            contributions(analysis),
        ),
    ] {
        object.put(element);
    }
    put_equipment(&mut object, analysis.device);
    object
}

/// Whether the pixels that a result comes from were ever compressed with loss: what is once lost stays lost
/// (PS3.3 section C.7.6.1.1.5).
pub(super) fn put_lossy(object: &mut DataSet, source: &Source) {
    const LOSSY: [Tag; 3] = [
        tags::LOSSY_IMAGE_COMPRESSION,
        tags::LOSSY_IMAGE_COMPRESSION_RATIO,
        tags::LOSSY_IMAGE_COMPRESSION_METHOD,
    ];
    object.put(text(tags::LOSSY_IMAGE_COMPRESSION, VR::CS, "00"));
    if source.text(tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01") {
        for element in LOSSY.iter().filter_map(|tag| source.data_set().get(*tag)) {
            object.put(element.clone());
        }
    }
}

/// Which part of the body, and which side. A side is asked for where the part may be one of a pair, so also where the
/// source does not say which part it is; empty then (PS3.3 section C.7.3.1, type 2C).
pub(super) fn put_body_part(object: &mut DataSet, source: &Source) {
    for tag in [tags::BODY_PART_EXAMINED, tags::LATERALITY] {
        if let Some(element) = source.data_set().get(tag) {
            object.put(element.clone());
        }
    }
    if source.text(tags::BODY_PART_EXAMINED).is_none() && object.get(tags::LATERALITY).is_none() {
        object.put(empty(tags::LATERALITY, VR::CS));
    }
}

/// A device's UID: the same for the same serial number of the same model.
pub(crate) fn device_uid(device: &Device) -> String {
    derived_uid(
        "device",
        &[
            device.manufacturer.as_bytes(),
            device.model.as_bytes(),
            device.serial.as_bytes(),
        ],
    )
}

/// Patient and study as the source has them.
pub(super) fn copied(source: &DataSet) -> DataSet {
    let mut object = data_set(COPIED.iter().filter_map(|tag| source.get(*tag).cloned()));
    for (tag, vr) in REQUIRED {
        if object.get(tag).is_none() {
            object.put(empty(tag, vr));
        }
    }
    object
}

/// What a list of series shows: that it is a machine's, whether it may be used, and which model's. What matters most
/// stands first, since viewers cut the rest off.
fn series_description(analysis: &Analysis<'_>) -> String {
    let model = &analysis.report.model;
    let mark = if analysis.report.clinical_use {
        "AI"
    } else {
        "AI NOT FOR CLINICAL USE"
    };
    long_string(&format!("{mark}: {} {}", model.name, model.version))
}

fn put_equipment(object: &mut DataSet, device: &Device) {
    object.put(text(
        tags::MANUFACTURER,
        VR::LO,
        long_string(&device.manufacturer),
    ));
    object.put(text(
        tags::MANUFACTURER_MODEL_NAME,
        VR::LO,
        long_string(&device.model),
    ));
    object.put(text(
        tags::DEVICE_SERIAL_NUMBER,
        VR::LO,
        long_string(&device.serial),
    ));
    object.put(text(
        tags::SOFTWARE_VERSIONS,
        VR::LO,
        long_string(&device.software_version),
    ));
    object.put(text(tags::STATION_NAME, VR::SH, device.ae_title.as_str()));
}

/// Who made what this result is: the scanner, the appliance, the model (PS3.3 section C.12.1.1.5).
fn contributions(analysis: &Analysis<'_>) -> Vec<DataSet> {
    let (report, device) = (analysis.report, analysis.device);
    let (model, when) = (&report.model, analysis.moment.date_time());
    let mut appliance = contribution(
        PROCESSING_EQUIPMENT,
        format!("Appliance that ran the model on {}", report.device),
    );
    put_equipment(&mut appliance, device);
    appliance.put(text(tags::CONTRIBUTION_DATE_TIME, VR::DT, &*when));

    let mark = if report.clinical_use {
        ""
    } else {
        ". NOT FOR CLINICAL USE"
    };
    let description = format!(
        "Model package {} {}, SHA-256 of its manifest {}{mark}",
        model.name, model.version, model.digest
    );
    let mut algorithm = contribution(PROCESSING_EQUIPMENT, description);
    algorithm.put(text(
        tags::MANUFACTURER,
        VR::LO,
        long_string(&device.manufacturer),
    ));
    algorithm.put(text(
        tags::MANUFACTURER_MODEL_NAME,
        VR::LO,
        long_string(&model.name),
    ));
    algorithm.put(text(
        tags::DEVICE_SERIAL_NUMBER,
        VR::LO,
        model.digest.to_string(),
    ));
    algorithm.put(text(
        tags::SOFTWARE_VERSIONS,
        VR::LO,
        long_string(&model.version),
    ));
    algorithm.put(text(tags::CONTRIBUTION_DATE_TIME, VR::DT, when));

    let scanner = scanner(analysis.first_source());
    scanner.into_iter().chain([appliance, algorithm]).collect()
}

/// The equipment that acquired the source, when it says who made it.
fn scanner(source: &Source) -> Option<DataSet> {
    const SAID_OF_SCANNER: [Tag; 7] = [
        tags::MANUFACTURER,
        tags::INSTITUTION_NAME,
        tags::STATION_NAME,
        tags::INSTITUTIONAL_DEPARTMENT_NAME,
        tags::MANUFACTURER_MODEL_NAME,
        tags::DEVICE_SERIAL_NUMBER,
        tags::SOFTWARE_VERSIONS,
    ];
    source.text(tags::MANUFACTURER)?; // without it the item is not valid
    let mut item = contribution(ACQUISITION_EQUIPMENT, "Acquired the images".to_owned());
    for element in SAID_OF_SCANNER
        .iter()
        .filter_map(|tag| source.data_set().get(*tag))
    {
        item.put(element.clone());
    }
    Some(item)
}

fn contribution(purpose: Concept, description: String) -> DataSet {
    data_set([
        sequence(
            tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE,
            vec![purpose.item()],
        ),
        text(tags::CONTRIBUTION_DESCRIPTION, VR::ST, description),
    ])
}

/// The minutes of an offset as the standard writes it, `&ZZXX`.
fn offset_min(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    Some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_as_the_standard_writes_them() {
        for (text, minutes) in [
            ("+0100", Some(60)),
            ("-0330", Some(-210)),
            ("+0000", Some(0)),
        ] {
            assert_eq!(offset_min(text), minutes);
        }
        for bad in ["", "0100", "+1", "+01:0", "é100", "+ééé"] {
            assert_eq!(offset_min(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_in_local_time() {
        let moment = LocalTime {
            at: Timestamp::from_millis(1_795_456_800_123),
            offset_min: -210,
        };
        assert_eq!(
            (moment.date(), moment.time()),
            ("20261123".into(), "143000".into())
        );
        assert_eq!(moment.date_time(), "20261123143000-0330");
    }
}
