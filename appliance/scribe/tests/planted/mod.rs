//! What identifies somebody, made up: kinds of it, in sentences.

use pericard_domain::entity::Entity;
use pericard_scribe::deidentify::clean;

/// One kind of identifier.
pub(crate) struct Planted {
    pub(crate) kind: &'static str,
    pub(crate) values: &'static [&'static str],
    /// Each value stands in each of them, in place of the braces.
    pub(crate) sentences: &'static [&'static str],
    /// How many of these the rules take out whole.
    pub(crate) found: usize,
    /// How many with the model `rampart` beside them.
    pub(crate) with_model: usize,
}

const NAMES: &[&str] = &[
    "Jane Doe",
    "Peter Quill",
    "Anna Müller",
    "Mehmet Yılmaz",
    "Seán O'Brien",
    "Lan Nguyen",
    "Marie-Claire Dubois",
    "Hans-Jürgen von der Heide",
    "Priya Ramanathan",
    "John F. Smith",
    "Olga Petrova",
    "Ada Okonkwo",
];

pub(crate) const PLANTED: &[Planted] = &[
    Planted {
        kind: "names beside a title, a label or a signature",
        values: NAMES,
        sentences: &[
            "Dr. {} was informed by telephone.",
            "Patient: {}",
            "Mrs. {} fell at home.",
            "Herr {} klagt über Husten.",
            "Reported by {}, MD.",
            "Discussed with {} at the ward round.",
            "Electronically signed by: {}",
            "Referring physician: {}",
        ],
        found: 91,
        with_model: 96,
    },
    Planted {
        kind: "names without any of these",
        values: NAMES,
        sentences: &[
            "{} was seen in the ward today.",
            "The daughter, {}, was told.",
            "Findings were passed on to {} in the clinic.",
            "Compared with the images that {} sent.",
            "{} klagt über Husten.",
            "This 40-year-old man, {}, has had a cough.",
            "The scan of {} shows no fracture.",
            "Images reviewed together with colleague {}.",
        ],
        found: 0,
        with_model: 90,
    },
    Planted {
        kind: "dates",
        values: &[
            "2026-03-04",
            "03/04/2026",
            "4.3.2026",
            "4 March 2026",
            "March 4, 2026",
            "4. März 2026",
            "March 2026",
            "4th of March",
            "04-MAR-2026",
            "3/4",
            "20260304",
            "04.03.",
        ],
        sentences: &[
            "Compared with the study of {}.",
            "Admitted on {} with fever.",
            "Examination: {}",
        ],
        found: 27,
        with_model: 27,
    },
    Planted {
        kind: "telephone numbers and addresses in networks",
        values: &[
            "(555) 123-4567",
            "555-123-4567",
            "+49 30 1234567",
            "030 / 1234567",
            "+1 555 123 4567",
            "j.doe@example.org",
            "www.example.org",
            "ext. 4711",
            "bleep 1234",
        ],
        sentences: &["Call {} with questions.", "Tel: {}", "Results went to {}."],
        found: 19,
        with_model: 19,
    },
    Planted {
        kind: "numbers of records and persons",
        values: &[
            "00482913",
            "A-778123",
            "1234567890",
            "MR12345",
            "943 476 5919",
            "123-45-6789",
            "H7 221 9",
            "K4711",
        ],
        sentences: &[
            "MRN {}",
            "Accession number: {}",
            "Patient ID {} was scanned.",
            "Insurance no. {}",
            "The record {} was used.",
        ],
        found: 33,
        with_model: 37,
    },
    Planted {
        kind: "addresses",
        values: &[
            "12 Oak Tree Lane",
            "Lindenstraße 12",
            "10115 Berlin",
            "5 High Street, Leeds LS1 4AP",
            "Am Markt 3",
            "PO Box 120",
        ],
        sentences: &["Lives at {}.", "Wohnt in {}.", "Address: {}"],
        found: 9,
        with_model: 17,
    },
    Planted {
        kind: "institutions",
        values: &[
            "St. Mary Hospital",
            "Universitätsklinikum Bonn",
            "Mayo Clinic",
            "Springfield Medical Center",
            "Charité",
            "Klinik am See",
            "King's College",
        ],
        sentences: &[
            "Transferred from {}.",
            "Images of {} were compared.",
            "Operated on at {} before.",
        ],
        found: 12,
        with_model: 13,
    },
];

impl Planted {
    /// The row of the README's table.
    pub(crate) fn row(&self) -> String {
        let count = self.values.len() * self.sentences.len();
        let (kind, found, with_model) = (self.kind, self.found, self.with_model);
        format!("| {kind} | {found} of {count} | {with_model} of {count} |")
    }

    /// Each value in each of its sentences.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let sentences = self.sentences;
        let each = self.values.iter();
        each.flat_map(move |value| sentences.iter().map(move |sentence| (*value, *sentence)))
    }
}

/// The sentence with the value in it.
pub(crate) fn filled(value: &str, sentence: &str) -> String {
    sentence.replace("{}", value)
}

/// Whether all letters and digits of a value are taken out, where a model marks so much of the sentence.
pub(crate) fn is_found(value: &str, sentence: &str, marked: &[Entity]) -> bool {
    let (before, _) = sentence.split_once("{}").expect("a place for the value");
    let first = before.chars().count();
    let cleaned = clean(&filled(value, sentence), &[], marked, None).expect("a text");
    let spans: Vec<_> = cleaned.found.iter().map(|found| found.span).collect();
    let is_out = |at: usize| {
        spans
            .iter()
            .any(|span| (span.start..span.end).contains(&at))
    };
    let letters = value.chars().enumerate();
    letters
        .filter(|(_, letter)| letter.is_alphanumeric())
        .all(|(at, _)| is_out(first + at))
}
