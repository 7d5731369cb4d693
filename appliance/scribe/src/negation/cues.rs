//! The words that deny, leave open and turn.
//!
//! After the trigger lists of NegEx (Chapman et al., A simple algorithm for identifying negated findings and diseases in discharge
//! summaries, J Biomed Inform 34, 2001, 301-310) and of ConText (Harkema et al., ConText: an algorithm for determining negation,
//! experiencer, and temporal status from clinical reports, J Biomed Inform 42, 2009, 839-851), with the words of radiology.

/// Before what is named, they deny it, and what is enumerated after it too.
pub(super) const DENY_LISTS: &[&str] = &[
    "no",
    "without",
    "denies",
    "negative for",
    "free of",
    "clear of",
    "absence of",
    "lack of",
    "ruled out",
    "rules out",
    "excludes",
    "neither",
    "nor",
    "nor is there",
    "nor are there",
    "not see",
    "not show",
    "not demonstrate",
    "not reveal",
    "not identify",
    "not have",
    "kein",
    "keine",
    "keinen",
    "ohne",
];
/// Before what is named, they deny it alone: "not enlarged, right pneumothorax".
pub(super) const DENY_ONE: &[&str] = &[
    "not",
    "never",
    "absent",
    "excluded",
    "resolved",
    "resolution of",
];
/// After what is named, they deny it.
pub(super) const DENY_AFTER: &[&str] = &[
    "is absent",
    "are absent",
    "was absent",
    "were absent",
    "is now absent",
    "is excluded",
    "are excluded",
    "was excluded",
    "been excluded",
    "is ruled out",
    "are ruled out",
    "was ruled out",
    "been ruled out",
    "has resolved",
    "have resolved",
    "has completely resolved",
    "have completely resolved",
    "has since resolved",
    "has now resolved",
    "ausgeschlossen",
];
/// After "not" and "no longer", they deny what stands before.
pub(super) const SEEN: &[&str] = &[
    "seen",
    "identified",
    "present",
    "demonstrated",
    "evident",
    "appreciated",
    "visualized",
    "visualised",
    "visible",
    "apparent",
    "detected",
    "found",
    "noted",
    "shown",
    "observed",
];
/// What was not seen then says nothing of now.
pub(super) const THEN: &[&str] = &["prior", "previous", "previously", "before", "earlier"];
/// After a colon, they deny what stands before it.
pub(super) const NO_ANSWERS: &[&str] = &["none", "no", "absent", "negative"];

/// Before or after, they leave it open.
pub(super) const OPEN: &[&str] = &[
    "possible",
    "possibly",
    "probable",
    "probably",
    "likely",
    "unlikely",
    "doubtful",
    "equivocal",
    "indeterminate",
    "may",
    "might",
    "could",
    "suspect",
    "suggests",
    "questionable",
    "consider",
    "versus",
    "vs",
    "differential",
    "rule out",
    "r o",
    "evaluate for",
    "evaluation for",
    "assess for",
    "history of",
    "risk of",
    "if",
    "in case of",
    "no further",
    "without further",
    "not well",
    "not clearly",
    "not definitely",
    "nor excluded",
    "verdacht",
    "möglich",
    "fraglich",
    "nicht auszuschließen",
    "nicht ausgeschlossen",
];
/// They leave it open too, unless they are denied themselves: "no opacity suspicious for pneumonia".
pub(super) const SUSPECT: &[&str] = &[
    "suspicious for",
    "suspicion of",
    "suspicion for",
    "suspected",
    "concerning for",
    "concern for",
    "worrisome for",
    "suggestive of",
    "question of",
];
/// What denies a suspicion.
pub(super) const NO: &[&str] = &["no", "without"];
/// Before an exclusion, they leave it open: "cannot be entirely excluded".
pub(super) const CANNOT: &[&str] = &["not", "cannot", "can't", "unable", "difficult", "hard"];

/// They look like denials, and deny nothing of what is named.
pub(super) const PSEUDO: &[&str] = &[
    "not only",
    "not necessarily",
    "not certain if",
    "not certain whether",
    "not cause",
    "not drain",
    "gram negative",
    "no doubt",
    "without doubt",
    "without difficulty",
    "no more than",
    "no less than",
    "not resolved",
    "not yet resolved",
    "not completely resolved",
    "not fully resolved",
    "incompletely resolved",
    "partially resolved",
    "partly resolved",
    "nearly resolved",
    "nearly completely resolved",
    "almost completely resolved",
    "no resolution of",
    "without resolution of",
    "partial resolution of",
    "incomplete resolution of",
    "near complete resolution of",
    "nearly complete resolution of",
    "no lung markings",
    "without lung markings",
    "absent lung markings",
    "absence of lung markings",
    "no comparison",
    "without comparison",
    "no prior study",
    "no prior studies",
    "no prior examination",
    "no prior examinations",
    "no prior imaging",
    "nicht nur",
];
/// They begin a change or a contrast medium that is denied, with what there may be between them and it.
pub(super) const DENY_CHANGE: &[&str] = &["no", "not", "without", "kein", "keine", "ohne"];
/// See above: "no significant interval change".
pub(super) const DEGREES: &[&str] = &[
    "significant",
    "significantly",
    "interval",
    "definite",
    "definitely",
    "appreciable",
    "appreciably",
    "substantial",
    "substantially",
    "suspicious",
    "obvious",
    "apparent",
    "marked",
    "markedly",
    "relevant",
    "major",
    "clear",
    "further",
    "visible",
    "any",
    "evidence",
    "of",
    "wesentliche",
    "signifikante",
    "relevante",
];
/// What has not changed is there.
pub(super) const CHANGES: &[&str] = &[
    "change",
    "changes",
    "changed",
    "increase",
    "increased",
    "decrease",
    "decreased",
    "growth",
    "progression",
    "progressed",
    "worsening",
    "worsened",
    "improvement",
    "improved",
    "difference",
    "reduction",
    "änderung",
    "veränderung",
    "befundänderung",
    "zunahme",
    "abnahme",
];
/// What an image was made without says nothing of what it shows.
pub(super) const CONTRAST: &[&str] = &["contrast", "gadolinium", "kontrastmittel", "km"];

/// They turn a sentence: what is said on one side of them does not reach to the other.
pub(super) const TURNS: &[&str] = &[
    "but",
    "however",
    "although",
    "though",
    "nevertheless",
    "whereas",
    "while",
    "except",
    "aside from",
    "apart from",
    "yet",
    "there is",
    "there are",
    "there was",
    "there were",
    ".",
    "aber",
    "jedoch",
];
/// They turn it for what comes after them: "CT without fever shows".
pub(super) const ONWARD: &[&str] = &[
    "now",
    "shows",
    "showed",
    "demonstrates",
    "reveals",
    "revealed",
];
/// They part what is enumerated.
pub(super) const PARTING: &[&str] = &[",", "and", "or", "nor", "und", "oder"];
/// Those of them by which a denial goes on.
pub(super) const OR: &[&str] = &["or", "nor", "oder"];
/// They join something else to what is denied: "no fracture with pneumothorax".
pub(super) const WITH: &[&str] = &["with", "mit"];
/// Before "with", they make it one with what is denied: "no opacity consistent with pneumonia".
pub(super) const ONE_WITH: &[&str] = &[
    "consistent",
    "compatible",
    "keeping",
    "associated",
    "comparison",
    "compared",
    "correlated",
    "correlation",
];
/// They begin something that is there: "no fracture, small pneumothorax".
pub(super) const AFFIRM: &[&str] = &[
    "a",
    "an",
    "the",
    "new",
    "now",
    "small",
    "tiny",
    "trace",
    "minimal",
    "mild",
    "moderate",
    "large",
    "stable",
    "unchanged",
    "persistent",
    "persisting",
    "residual",
    "known",
    "increased",
    "increasing",
    "decreased",
    "decreasing",
    "worsening",
    "improving",
    "improved",
];
/// The one of them that is usual among what is not there: "no consolidation, large effusion or pneumothorax".
pub(super) const AFFIRMS_ALONE: &str = "large";
/// They begin another clause.
pub(super) const ARTICLES: &[&str] = &["a", "an", "the"];
/// What they stand in is said of what stands before them.
pub(super) const VERBS: &[&str] = &[
    "is", "are", "was", "were", "has", "have", "had", "persist", "persists", "remain", "remains",
    "ist", "sind",
];
/// Beside [`SEEN`], they say of what stands before them that it is there.
pub(super) const STEADY: &[&str] = &["stable", "unchanged", "increased", "decreased"];
/// They make a denial's way no longer.
pub(super) const UNCOUNTED: &[&str] = &[
    "a", "an", "the", "any", "of", "for", "evidence", "sign", "signs",
];
