//! What is not exported, and why: what cannot be cleaned stays in the house.

use super::Text;
use crate::header::Header;
use crate::pixels::PixelError;
use crate::source::text;
use crate::write::{DataSet, WriteError};
use dicom_dictionary_std::{tags, uids};

/// Why an object is not exported. No patient data.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A report, a document, a presentation state, a plan: words and drawings that cannot be cleaned by rule.
    #[error(
        "it is no image: reports and documents are not exported, since their words cannot be cleaned"
    )]
    NoImage,
    /// Its pixels cannot be decoded, so what was burned into them cannot be seen, and nothing hidden beside them be left out.
    #[error("its pixels cannot be decoded, so they cannot be cleaned: {0}")]
    Undecodable(#[from] PixelError),
    /// Nobody looked for text in it.
    #[error(
        "text may be burned into its pixels, and nobody looked: run the burned-in-text model over it and give what it finds"
    )]
    NotLookedAt,
    /// Somebody says that there is text, and none was found.
    #[error("it says that text is burned into its pixels, and none was found: look at it")]
    NotFound,
    /// A box of text that is none.
    #[error("a box of text is not in the image, or its corners are not numbers")]
    Box,
    /// A face, or something like it.
    #[error("it says that the patient can be recognised in it, which cannot be cleaned")]
    Recognizable,
    /// The label of a slide.
    #[error("it is the picture of a label")]
    Label,
    /// It is too large to be written without compression.
    #[error("uncompressed it takes more than {max_bytes} bytes; export it by parts")]
    TooLarge {
        /// The most.
        max_bytes: u64,
    },
    /// The cleaned object could not be encoded.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Classes of which images straight from the scanner carry no text in their pixels: cross sections. A screen that was saved
/// says so in its Image Type or is of another class.
const WITHOUT_TEXT: [&str; 9] = [
    uids::CT_IMAGE_STORAGE,
    uids::ENHANCED_CT_IMAGE_STORAGE,
    uids::MR_IMAGE_STORAGE,
    uids::ENHANCED_MR_IMAGE_STORAGE,
    uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
    uids::ENHANCED_PET_IMAGE_STORAGE,
    uids::NUCLEAR_MEDICINE_IMAGE_STORAGE,
    uids::SEGMENTATION_STORAGE,
    uids::PARAMETRIC_MAP_STORAGE,
];

/// Whether the image may go out at all.
pub(super) fn check(header: &Header, object: &DataSet, looked: Text<'_>) -> Result<(), Refusal> {
    let image_type: Vec<String> = object
        .get(tags::IMAGE_TYPE)
        .and_then(|e| e.to_multi_str().ok())
        .map(|values| values.iter().map(|v| v.trim().to_uppercase()).collect())
        .unwrap_or_default();
    if image_type.iter().any(|value| value == "LABEL") {
        return Err(Refusal::Label);
    }
    let says = |tag| text(object, tag).map(|value| value.to_uppercase());
    if says(tags::RECOGNIZABLE_VISUAL_FEATURES).as_deref() == Some("YES") {
        return Err(Refusal::Recognizable);
    }
    let burned_in = says(tags::BURNED_IN_ANNOTATION);
    match looked {
        Text::Found(boxes) => {
            let instance = &header.identity.instance;
            let is_here = boxes.iter().any(|b| b.source.instance == *instance);
            if burned_in.as_deref() == Some("YES") && !is_here {
                return Err(Refusal::NotFound);
            }
        }
        Text::NotLookedFor => {
            let class = header.identity.sop_class.as_str();
            let is_screen = |value: &String| value.contains("SCREEN") || value == "SECONDARY";
            let without = WITHOUT_TEXT.contains(&class)
                && burned_in.as_deref() != Some("YES")
                && !image_type.iter().any(is_screen);
            if !without {
                return Err(Refusal::NotLookedAt);
            }
        }
    }
    Ok(())
}
