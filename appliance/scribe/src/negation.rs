//! What a sentence says of something that it names: that it is there, that it is not, or that it may be.
//!
//! After NegEx and ConText: words before or after what is named deny it or leave it open. What only looks like a denial is none ("no
//! change in the pneumothorax"). A denial reaches six words far, anew with each part of an enumeration ("no pneumothorax,
//! effusion or consolidation"), and not beyond a word that turns the sentence, nor into another clause. It errs towards "uncertain"
//! where both are said, or where a sentence can be read in both ways.
//!
//! Deliberately absent: history. What a sentence tells as a patient's history is left open, for it says nothing of now.

mod cues;

use cues::{
    AFFIRM, AFFIRMS_ALONE, ARTICLES, CANNOT, CHANGES, CONTRAST, DEGREES, DENY_AFTER, DENY_CHANGE,
    DENY_LISTS, DENY_ONE, NO, NO_ANSWERS, ONE_WITH, ONWARD, OPEN, OR, PARTING, PSEUDO, SEEN,
    STEADY, SUSPECT, THEN, TURNS, UNCOUNTED, VERBS, WITH,
};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How far a denial reaches, words; beyond, what is named is left open.
const WORDS_MAX: usize = 6;
/// Words between a denial and a suspicion that it denies.
const SUSPICION_WORDS_MAX: usize = 3;
/// Words from "cannot" to the exclusion.
const EXCLUSION_WORDS_MAX: usize = 4;
/// Words from "without" to the contrast medium.
const CONTRAST_WORDS_MAX: usize = 5;
/// Words from "not seen" to when that was.
const THEN_WORDS_MAX: usize = 5;
/// Words from what is named to the colon whose answer is meant for it, the colon among them.
const ANSWER_WORDS_MAX: usize = 4;

/// What a sentence says of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It is left open.
    Uncertain,
}

/// How far a denial reaches towards what is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// It ends before.
    Short,
    /// The words can be read in both ways.
    Unclear,
    /// It is denied.
    Whole,
}

/// What a denial goes on over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// The parts of an enumeration.
    Lists,
    /// An "or" alone.
    Or,
}

/// What a sentence says of what stands in it at these bytes.
#[must_use]
pub fn presence(sentence: &str, named: &Range<usize>) -> Presence {
    let before = words(&sentence[..named.start]);
    let after = words(&sentence[named.end..]);
    let before = before.get(last_turn(&before)..).unwrap_or_default();
    let after = &after[..first_turn(&after)];
    if is_left_open(before) || is_left_open(after) || sentence.trim_end().ends_with('?') {
        return Presence::Uncertain;
    }
    match reach_from_before(before, after).max(reach_from_after(after)) {
        Reach::Whole => Presence::Absent,
        Reach::Unclear => Presence::Uncertain,
        Reach::Short => Presence::Present,
    }
}

/// The words of a text, small, with the signs that part them.
pub(crate) fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut last) = (Vec::new(), String::new(), ' ');
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter.is_alphanumeric() || letter == '\'' || letter == '’' {
            word.extend(letter.to_lowercase());
        } else {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            let next = letters.peek().copied();
            words.extend(sign(last, letter, next).map(str::to_owned));
        }
        last = letter;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// What a sign is among words; nothing when it parts none.
fn sign(before: char, sign: char, after: Option<char>) -> Option<&'static str> {
    let in_number = before.is_ascii_digit() && after.is_some_and(|c| c.is_ascii_digit());
    let stands_alone = before.is_whitespace() && after.is_none_or(char::is_whitespace);
    match sign {
        ',' | '–' | '—' if !in_number => Some(","),
        '-' if stands_alone => Some(","),
        ':' => Some(":"),
        // The dot of an abbreviation has a space or a small letter behind it.
        '.' if after.is_none_or(char::is_uppercase) => Some("."),
        _ => None,
    }
}

fn last_turn(words: &[String]) -> usize {
    let turns = TURNS.iter().chain(ONWARD);
    let turns = turns.flat_map(|turn| places(words, turn));
    // "No evidence that there is" goes on.
    let turns = turns.filter(|at| at.start == 0 || words[at.start - 1] != "that");
    turns.map(|at| at.end).max().unwrap_or(0)
}

fn first_turn(words: &[String]) -> usize {
    let turns = TURNS.iter().flat_map(|turn| places(words, turn));
    turns.map(|at| at.start).min().unwrap_or(words.len())
}

fn is_left_open(words: &[String]) -> bool {
    let mut suspicions = SUSPECT.iter().flat_map(|cue| places(words, cue));
    OPEN.iter().any(|cue| places(words, cue).next().is_some())
        || suspicions.any(|at| !is_no_suspicion(words, at.start))
        || (0..words.len()).any(|at| is_not_excluded(words, at))
}

/// Whether the suspicion that begins there is denied.
fn is_no_suspicion(words: &[String], at: usize) -> bool {
    let looks = looks_denied(words);
    let plain = |word: &String| ![PARTING, VERBS, WITH].iter().any(|list| is_of(list, word));
    let mut denials = NO.iter().flat_map(|no| places(&words[..at], no));
    denials.any(|no| {
        let between = &words[no.end..at];
        let is_real = !looks.iter().any(|one| one.contains(&no.start));
        is_real && between.len() <= SUSPICION_WORDS_MAX && between.iter().all(plain)
    })
}

fn is_not_excluded(words: &[String], at: usize) -> bool {
    let rest = &words[at + 1..];
    let near = rest.iter().take(EXCLUSION_WORDS_MAX);
    let near = near.take_while(|word| *word != ",").count();
    let excludes = |at: usize| {
        rest[at].starts_with("exclud")
            || stands_at(rest, at, "rule out")
            || stands_at(rest, at, "ruled out")
    };
    is_of(CANNOT, &words[at]) && (0..near).any(excludes)
}

fn reach_from_before(words: &[String], after: &[String]) -> Reach {
    let looks = looks_denied(words);
    let lists = DENY_LISTS.iter().map(|cue| (cue, Over::Lists));
    let cues = lists.chain(DENY_ONE.iter().map(|cue| (cue, Over::Or)));
    let denials = cues.flat_map(|(cue, over)| places(words, cue).map(move |at| (at, over)));
    let reaches = denials.map(|(at, over)| {
        let around = looks
            .iter()
            .filter(|one| one.start <= at.start && at.end <= one.end);
        match around.map(|one| one.end).max() {
            // "No change in the effusion or pneumothorax."
            Some(end) if has_or(&words[end..]) => Reach::Unclear,
            Some(_) => Reach::Short,
            None => reach(&words[at.end..], over, has_or(after)),
        }
    });
    reaches.max().unwrap_or(Reach::Short)
}

/// What only looks like a denial, and where.
fn looks_denied(words: &[String]) -> Vec<Range<usize>> {
    let phrases = PSEUDO.iter().flat_map(|phrase| places(words, phrase));
    let begins = (0..words.len()).filter(|at| is_of(DENY_CHANGE, &words[*at]));
    let built = begins.flat_map(|at| {
        let ends = [end_of_change(words, at), end_of_contrast(words, at)];
        ends.into_iter().flatten().map(move |end| at..end)
    });
    phrases.chain(built).collect()
}

fn end_of_change(words: &[String], at: usize) -> Option<usize> {
    let rest = &words[at + 1..];
    let degrees = rest.iter().take_while(|word| is_of(DEGREES, word)).count();
    let changes = is_of(CHANGES, rest.get(degrees)?);
    changes.then_some(at + 1 + degrees + 1)
}

fn end_of_contrast(words: &[String], at: usize) -> Option<usize> {
    let near = words[at + 1..].iter().take(CONTRAST_WORDS_MAX);
    let mut near = near.take_while(|word| *word != ",");
    let place = near.position(|word| is_of(CONTRAST, word))?;
    Some(at + 1 + place + 1)
}

/// How far a denial reaches over what stands between it and what is named.
fn reach(between: &[String], over: Over, or_after: bool) -> Reach {
    // A denial that ends at once is the answer to what stands before it: "effusion: no, pneumothorax: yes".
    if between.first().is_some_and(|word| word == ",") {
        return Reach::Short;
    }
    let (mut reach, mut count, mut is_told) = (Reach::Whole, 0, false);
    for (at, word) in between.iter().enumerate() {
        let next = between.get(at + 1).map_or("", String::as_str);
        let is_listed = or_after || has_or(&between[at..]);
        match word.as_str() {
            // "A, b, or c": the word behind it counts.
            "," if is_of(PARTING, next) => {}
            word if is_of(OR, word) => count = 0,
            word if is_of(PARTING, word) => {
                let ends = is_told || (word == "," && over == Over::Or);
                if ends || (affirms(next) && !is_listed) {
                    return Reach::Short;
                }
                if over == Over::Or || (affirms(next) && next != AFFIRMS_ALONE) {
                    reach = Reach::Unclear;
                }
                count = 0;
            }
            word if is_of(WITH, word) => {
                let is_one = at > 0 && is_of(ONE_WITH, &between[at - 1]);
                if !is_one && affirms(next) && !is_listed {
                    return Reach::Short;
                }
                if !is_one {
                    reach = Reach::Unclear;
                }
            }
            word if is_of(VERBS, word) => {
                is_told = true;
                reach = Reach::Unclear;
            }
            word if is_of(UNCOUNTED, word) => {}
            _ => {
                count += 1;
                if count > WORDS_MAX {
                    reach = Reach::Unclear;
                }
            }
        }
    }
    reach
}

fn reach_from_after(words: &[String]) -> Reach {
    if is_answered_no(words) {
        return Reach::Whole;
    }
    let said = DENY_AFTER.iter().flat_map(|cue| places(words, cue));
    let said = said.map(|at| at.start);
    let unseen = (0..words.len()).filter_map(|at| unseen(words, at));
    let reaches = said.chain(unseen).map(|at| reach_back(&words[..at]));
    reaches.max().unwrap_or(Reach::Short)
}

/// Whether a colon and a no stand behind what is named: "pneumothorax: none".
fn is_answered_no(words: &[String]) -> bool {
    let mut near = words.iter().take(ANSWER_WORDS_MAX);
    let Some(colon) = near.position(|word| word == ":") else {
        return false;
    };
    let is_no = words
        .get(colon + 1)
        .is_some_and(|word| is_of(NO_ANSWERS, word));
    is_no && words.get(colon + 2).is_none_or(|word| word == ",")
}

/// Where a "not seen" begins whose "not" stands there. What was not seen on the study before is new.
fn unseen(words: &[String], at: usize) -> Option<usize> {
    let is_longer = words[at] == "longer" && at > 0 && words[at - 1] == "no";
    if words[at] != "not" && !is_longer {
        return None;
    }
    let been = usize::from(words.get(at + 1).is_some_and(|word| word == "been"));
    if !is_of(SEEN, words.get(at + 1 + been)?) {
        return None;
    }
    let rest = words[at + been + 2..].iter().take(THEN_WORDS_MAX);
    let rest: Vec<&String> = rest.take_while(|word| *word != ",").collect();
    let is_then = rest.iter().any(|word| is_of(THEN, word));
    if is_then && !rest.iter().any(|word| *word == "current") {
        return None;
    }
    let start = at - usize::from(is_longer);
    // The verb before it belongs to it.
    let is_verb = start > 0 && is_of(VERBS, &words[start - 1]);
    Some(start - usize::from(is_verb))
}

/// How far a denial reaches back over what stands between what is named and it.
fn reach_back(between: &[String]) -> Reach {
    let (mut reach, mut count, mut is_told) = (Reach::Whole, 0, false);
    let (mut has_comma, mut is_joined) = (false, false);
    for (at, word) in between.iter().enumerate() {
        let next = between.get(at + 1).map_or("", String::as_str);
        let is_alone = !has_comma && !is_joined;
        match word.as_str() {
            "," if is_of(PARTING, next) => {}
            word if is_of(PARTING, word) => {
                // What stood so far is a clause of its own: "pneumothorax persists, effusion not seen".
                if is_told || is_of(ARTICLES, next) {
                    return Reach::Short;
                }
                has_comma |= word == "," && !["which", "that"].contains(&next);
                is_joined |= word != ",";
                count = 0;
            }
            word if is_of(VERBS, word) => is_told = true,
            word if is_alone && (is_of(SEEN, word) || is_of(STEADY, word)) => {
                is_told |= at == 0 || between[at - 1] != "previously";
            }
            word if is_of(UNCOUNTED, word) => {}
            _ => {
                count += 1;
                if count > WORDS_MAX {
                    reach = Reach::Unclear;
                }
            }
        }
    }
    // "Pneumothorax, effusion not seen."
    if has_comma && !is_joined {
        return Reach::Unclear;
    }
    reach
}

fn affirms(word: &str) -> bool {
    is_of(AFFIRM, word) || word.starts_with(|c: char| c.is_ascii_digit())
}

fn has_or(words: &[String]) -> bool {
    words.iter().any(|word| is_of(OR, word))
}

fn is_of(list: &[&str], word: &str) -> bool {
    list.contains(&word)
}

/// Where a cue of one or more words stands.
fn places(words: &[String], cue: &str) -> impl Iterator<Item = Range<usize>> {
    let length = cue.split(' ').count();
    let starts = (0..words.len()).filter(move |at| stands_at(words, *at, cue));
    starts.map(move |at| at..at + length)
}

fn stands_at(words: &[String], at: usize, cue: &str) -> bool {
    let mut rest = words[at..].iter();
    cue.split(' ')
        .all(|part| rest.next().is_some_and(|word| word == part))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) const PRESENT: &[&str] = &[
        "No change in the small right pneumothorax.",
        "CT without contrast shows a pneumothorax.",
        "Resolved left effusion with new right pneumothorax.",
        "No significant interval change in the right apical pneumothorax.",
        "No interval change in pneumothorax since yesterday.",
        "No increase in the left pneumothorax.",
        "No definite change in the known pneumothorax.",
        "No evidence of interval change in the pneumothorax.",
        "Without significant change in the small pneumothorax.",
        "Not significantly changed right pneumothorax.",
        "Not only an effusion but also a pneumothorax.",
        "Not only pneumothorax, also an effusion.",
        "CT of the chest without intravenous contrast, right pneumothorax.",
        "No oral or intravenous contrast was given, right pneumothorax.",
        "Incompletely resolved pneumothorax.",
        "Partial resolution of the pneumothorax.",
        "Interval resolution of the effusion with a small residual pneumothorax.",
        "Absence of lung markings at the apex, a large pneumothorax.",
        "No more than a small pneumothorax.",
        "Keine wesentliche Änderung des Pneumothorax.",
        "Pneumothorax: no change.",
        "No rib fracture and a small right pneumothorax.",
        "No fracture, small right pneumothorax.",
        "No effusion is seen and a pneumothorax is present.",
        "No effusion is seen, pneumothorax is present.",
        "The heart is not enlarged, right pneumothorax.",
        "No effusion, there is a pneumothorax.",
        "No effusion while the pneumothorax persists.",
        "No consolidation with a pneumothorax.",
        "No effusion.Right pneumothorax.",
        "No fracture - a small pneumothorax.",
        "Follow-up radiograph now demonstrates a pneumothorax.",
        "No effusion before, now pneumothorax.",
        "No acute process at the bases of the visualised lungs on limited views with known pneumothorax.",
        "Pneumothorax not seen on the prior study.",
        "There is a new pneumothorax, not seen previously.",
        "Right pneumothorax, the effusion has resolved.",
        "Pneumothorax is present, effusion is not seen.",
        "Pneumothorax persists, effusion not seen.",
        "Pneumothorax has not resolved.",
        "The pneumothorax has partially resolved.",
        "Small pneumothorax with mediastinal shift.",
        "Right pneumothorax has increased in size.",
        "Stable right apical pneumothorax.",
        "Tiny residual left pneumothorax.",
        "Persistent pneumothorax without mediastinal shift.",
        "Pneumothorax with no tension.",
        "Chest tube in place with unchanged pneumothorax.",
        "Moderate pneumothorax, no effusion.",
        "Effusion: no, pneumothorax: yes.",
        "No fracture, large pneumothorax.",
        "A pneumothorax was not present on the previous examination.",
        "Unchanged right pneumothorax compared with the prior study.",
    ];
    pub(crate) const ABSENT: &[&str] = &[
        "No pneumothorax, effusion, consolidation or acute bony abnormality.",
        "No focal airspace consolidation, pleural effusion, pulmonary edema, or pneumothorax.",
        "No effusion or pneumothorax.",
        "No pleural effusion and no pneumothorax.",
        "There is no focal consolidation, large pleural effusion, acute displaced rib fracture, or visible pneumothorax.",
        "The lungs are clear without consolidation, effusion or pneumothorax.",
        "Negative for pneumothorax.",
        "Neither effusion nor pneumothorax is seen.",
        "No fracture is seen, nor is there a pneumothorax.",
        "The lungs do not show consolidation, effusion, or pneumothorax.",
        "No new pneumothorax.",
        "No evidence of new or enlarging pneumothorax.",
        "Lungs are free of pneumothorax.",
        "There is no longer a pneumothorax.",
        "No findings suspicious for pneumothorax.",
        "No opacity consistent with pneumothorax.",
        "No radiographic evidence of acute cardiopulmonary disease, pneumothorax or effusion.",
        "No left pneumothorax, but a small right effusion.",
        "The pneumothorax is no longer seen.",
        "Pneumothorax: none.",
        "Pneumothorax or effusion is not identified.",
        "The pneumothorax in the right apex has resolved.",
        "Pneumothorax, effusion and consolidation are not seen.",
        "The pneumothorax has completely resolved.",
        "Pneumothorax, which has resolved.",
        "The pneumothorax is now absent.",
        "Pneumothorax was ruled out.",
        "No left pneumothorax and the right pneumothorax is small.",
        "Pneumothorax: no, effusion: yes.",
        "Pneumothorax has not been seen.",
        "No suspicion of pneumothorax.",
        "Interval resolution of the pneumothorax.",
    ];
    pub(crate) const UNCERTAIN: &[&str] = &[
        "No significant change or new pneumothorax.",
        "No consolidation with pneumothorax.",
        "No residual air of the pleural space on both sides above the diaphragm pneumothorax.",
        "Pneumothorax, effusion not seen.",
        "Pneumothorax is unlikely.",
        "A normal radiograph does not exclude pneumothorax.",
        "Pneumothorax cannot be entirely excluded.",
        "Rule out pneumothorax.",
        "History of pneumothorax.",
        "Return if pneumothorax recurs.",
        "Findings suggestive of pneumothorax.",
        "Unable to exclude a small pneumothorax.",
        "Pneumothorax is neither confirmed nor excluded.",
        "No fracture, findings suspicious for pneumothorax.",
        "No further pneumothorax.",
        "Pneumothorax ist nicht auszuschließen.",
        "No consolidation, small effusion, or pneumothorax.",
        "No evidence that there is a pneumothorax.",
        "No change in the effusion or the pneumothorax.",
    ];

    /// What a sentence says of the first pneumothorax in it.
    fn said(sentence: &str) -> Presence {
        let at = sentence.to_lowercase().find("pneumothorax").expect("named");
        presence(sentence, &(at..at + "pneumothorax".len()))
    }

    #[test]
    fn usual_sentences_are_read_as_a_radiologist_means_them() {
        for (sentences, expected) in [
            (PRESENT, Presence::Present),
            (ABSENT, Presence::Absent),
            (UNCERTAIN, Presence::Uncertain),
        ] {
            for sentence in sentences {
                assert_eq!(said(sentence), expected, "{sentence}");
            }
        }
    }

    #[test]
    fn each_mention_is_read_by_itself() {
        for sentence in [
            "No left pneumothorax, but a small right pneumothorax.",
            "No left pneumothorax and the right pneumothorax is small.",
        ] {
            let places = sentence.match_indices("pneumothorax");
            let all: Vec<_> = places
                .map(|(at, name)| presence(sentence, &(at..at + name.len())))
                .collect();
            assert_eq!(all, [Presence::Absent, Presence::Present], "{sentence}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_around_it_is_read(before in "[ ,.:a-z–-]{0,40}", cues in "(no |not |been |: |longer |, |without |contrast |seen |exclude ){0,8}") {
            let sentence = format!("{before}{cues}pneumothorax {cues}{before}");
            said(&sentence);
        }
    }

    #[test]
    fn cues_reach_as_far_as_a_turn() {
        for (sentence, expected) in [
            ("There is a small pneumothorax.", Presence::Present),
            ("No pneumothorax.", Presence::Absent),
            (
                "There is no evidence of pleural effusion or pneumothorax.",
                Presence::Absent,
            ),
            ("Pneumothorax is not seen.", Presence::Absent),
            (
                "The previously seen pneumothorax has resolved.",
                Presence::Absent,
            ),
            (
                "No effusion, but there is a pneumothorax.",
                Presence::Present,
            ),
            (
                "Pneumothorax on the right, but no effusion.",
                Presence::Present,
            ),
            ("Possible small pneumothorax.", Presence::Uncertain),
            ("A pneumothorax cannot be excluded.", Presence::Uncertain),
            (
                "No definite pneumothorax, although it may be hidden.",
                Presence::Absent,
            ),
            ("Pneumothorax?", Presence::Uncertain),
            ("Kein Pneumothorax.", Presence::Absent),
            ("Verdacht auf Pneumothorax.", Presence::Uncertain),
            ("Notable pneumothorax in November.", Presence::Present),
        ] {
            assert_eq!(said(sentence), expected, "{sentence}");
        }
    }
}
