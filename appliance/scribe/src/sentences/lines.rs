//! Whether a line break ends a sentence.
//!
//! Reports come wrapped at some seventy columns, and they come with each line a statement and no full stop. A word that ends no
//! statement, or one that begins none, says that the text runs on. What is said neither way is left to be read in both.

/// The narrowest width at which a text is taken to be wrapped, characters: what is shorter may be short by itself.
const WIDTH_MIN: usize = 60;
/// The widest: a text with longer lines is not wrapped.
const WIDTH_MAX: usize = 120;
/// Words of a label: "Pleural effusion, left: none".
const LABEL_WORDS_MAX: usize = 5;
/// The longest label, characters.
const LABEL_LETTERS_MAX: usize = 40;
/// Digits of a list's number.
const NUMBER_DIGITS_MAX: usize = 2;

/// They end no statement, whatever comes next.
const NEVER_LAST: &str = "and or nor und oder noch sowie versus vs bzw resp of for with without than ohne von für mit the an any kein \
     keine keinen keinem keiner keines eine einen einem einer eines der das des dem evtl incl approx ca cf";
/// They end none where a small letter comes next.
const SELDOM_LAST: &str = "a in on at to from by as into between near per via over under not nicht ist sind is are was \
     were has have had be been being may might could would can cannot wird werden wurde wurden there if whether which that while although but aber neither \
     either die den ein im am zu zur zum bei nach aus auf an dr prof mr mrs ms e.g i.e z.b d.h";
/// They begin no statement when they are written small.
const NEVER_FIRST: &str =
    "and or nor und oder noch sowie of than which that is are was were has have had ist sind von";
/// Before "no", it is what denies, and no answer: "there is no", not "effusion no".
const BEFORE_NO: &str = "and or but with is are was were has have show shows demonstrate demonstrates reveal reveals there";
/// By these a sentence is known as German, whose nouns are written large wherever they stand.
const GERMAN: &str =
    "kein keine keinen keinem keiner keines ohne nicht und oder von der das mit ist sind";
/// How a German adjective ends, whose noun is still to come.
const ADJECTIVE_ENDS: [&str; 5] = ["e", "em", "en", "er", "es"];

/// What a line break does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Break {
    /// The sentence ends.
    Ends,
    /// It ends or goes on: both can be meant.
    Unclear,
    /// It goes on.
    RunsOn,
}

/// How a line begins, compared with the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    Small,
    Large,
    /// By no letter, or where everything is written large.
    Neither,
}

/// The width at which a text is wrapped, if it is.
pub(super) fn width(text: &str) -> usize {
    let lines = text
        .split(['\n', '\r'])
        .map(|line| line.trim_end().chars().count());
    lines.max().unwrap_or(0).clamp(WIDTH_MIN, WIDTH_MAX)
}

/// What a break does between a line, with which a sentence has come so far, and the next.
pub(super) fn between(sentence: &str, line: &str, next: &str, width: usize) -> Break {
    let (sentence, line, next) = (sentence.trim(), line.trim_end(), next.trim());
    if sentence.is_empty() || next.is_empty() {
        return Break::Ends;
    }
    if introduces(sentence) {
        return Break::Unclear;
    }
    // What stands in brackets leaves nothing open.
    let last = match sentence.ends_with([')', ']']) {
        true => String::new(),
        false => last_word(sentence),
    };
    let is_abbreviation = is_of(NEVER_LAST, &last) || is_of(SELDOM_LAST, &last);
    if without_closing(sentence).ends_with('.') && !is_abbreviation {
        return Break::Ends;
    }
    let begins = beginning(line, next);
    let never = is_of(NEVER_LAST, &last) || denies(sentence, &last);
    let seldom =
        is_of(SELDOM_LAST, &last) || last == "no" || sentence.ends_with([',', '-', '/', '(']);
    if is_item(next) || is_label(next) {
        let goes_on = never || (seldom && last != "no");
        return if goes_on { Break::Unclear } else { Break::Ends };
    }
    let is_small = begins != Beginning::Large;
    if (is_small && is_of(NEVER_FIRST, &first_word(next))) || next.starts_with([',', ')']) || never
    {
        return Break::RunsOn;
    }
    if seldom {
        return match (begins, last == "no") {
            (Beginning::Small, false) => Break::RunsOn,
            // "Effusion: no" is answered.
            (Beginning::Large, true) => Break::Ends,
            _ => Break::Unclear,
        };
    }
    let length =
        line.chars().count() + 1 + next.split_whitespace().next().unwrap_or("").chars().count();
    match begins {
        Beginning::Small if length > width && begins_large(sentence) => Break::RunsOn,
        Beginning::Large if !is_open_german(sentence, &last, length > width) => Break::Ends,
        _ => Break::Unclear,
    }
}

/// Whether a sentence only says what comes next: a heading.
fn introduces(sentence: &str) -> bool {
    without_closing(sentence.trim()).ends_with(':')
}

/// Whether a line is an item of a list.
pub(super) fn is_item(line: &str) -> bool {
    let line = line.trim_start();
    let mark = line.split_whitespace().next().unwrap_or_default();
    if ["-", "*", "•", "·", "–", "—", "+"].contains(&mark) {
        return true;
    }
    let Some(number) = mark.strip_suffix(['.', ')']) else {
        return false;
    };
    let number = number.trim_start_matches('(');
    let is_number = number.len() <= NUMBER_DIGITS_MAX && number.chars().all(|c| c.is_ascii_digit());
    let is_letter =
        mark.ends_with(')') && number.len() == 1 && number.chars().all(char::is_alphabetic);
    !number.is_empty() && (is_number || is_letter)
}

/// Whether a line begins with a label: "Lungs: clear".
fn is_label(line: &str) -> bool {
    let Some((label, rest)) = line.split_once(':') else {
        return false;
    };
    let is_apart = rest.chars().next().is_none_or(char::is_whitespace);
    let is_short = label.chars().count() <= LABEL_LETTERS_MAX
        && label.split_whitespace().count() <= LABEL_WORDS_MAX;
    is_apart
        && is_short
        && !label.contains(['.', ';', '!', '?'])
        && label.chars().any(char::is_alphabetic)
}

/// Whether a sentence ends with a "no" that is meant for what comes next.
fn denies(sentence: &str, last: &str) -> bool {
    if last != "no" || sentence.ends_with('.') {
        return false;
    }
    let before = sentence.rsplit_once(char::is_whitespace);
    let before = before.map_or("", |(before, _)| before.trim_end());
    before.is_empty() || before.ends_with(',') || is_of(BEFORE_NO, &last_word(before))
}

fn beginning(line: &str, next: &str) -> Beginning {
    let is_shouted = ![line, next]
        .iter()
        .any(|text| text.chars().any(char::is_lowercase));
    match next.chars().next() {
        Some(first) if first.is_lowercase() => Beginning::Small,
        Some(first) if first.is_uppercase() && !is_shouted => Beginning::Large,
        _ => Beginning::Neither,
    }
}

/// Whether a sentence begins as sentences of prose do, so that no line of it is one by itself that begins small.
fn begins_large(sentence: &str) -> bool {
    let first = sentence.chars().find(|letter| letter.is_alphanumeric());
    first.is_some_and(char::is_uppercase)
}

/// Whether a German sentence may go on with a noun.
fn is_open_german(sentence: &str, last: &str, is_full: bool) -> bool {
    let is_german = sentence
        .split_whitespace()
        .any(|word| is_of(GERMAN, &word.to_lowercase()));
    let is_small = sentence
        .split_whitespace()
        .next_back()
        .is_some_and(|word| word.starts_with(char::is_lowercase));
    is_german && (is_full || (is_small && ADJECTIVE_ENDS.iter().any(|end| last.ends_with(end))))
}

fn without_closing(text: &str) -> &str {
    text.trim_end_matches([')', ']', '"', '”', '’', '»', ' '])
}

fn first_word(text: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.trim_matches(|c: char| !c.is_alphanumeric())
        .to_lowercase()
}

fn last_word(text: &str) -> String {
    let word = text.split_whitespace().next_back().unwrap_or_default();
    word.trim_matches(|c: char| !c.is_alphanumeric())
        .to_lowercase()
}

fn is_of(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|one| one == word)
}
