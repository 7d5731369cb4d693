//! Calls of tools in what a model says, taken apart as it comes.
//!
//! A model calls as the engine's grammar lets it: `<tool_call>`, an object with a name and arguments, `</tool_call>`, one call
//! on each line. Such an answer is told as it comes. After other words the grammar holds to nothing: there a call is one only
//! when it is whole, of a tool that was offered, and its arguments are an object; whatever else looks like one is what it says.

use pericard_domain::chat::{CALL_BEGINS, CALL_ENDS};
use serde_json::{Deserializer, Value};

const NAMED: &str = "{\"name\": \"";
const ARGUED: &str = "\", \"arguments\": ";

/// Takes an answer apart as it comes.
#[derive(Debug, Default)]
pub(super) struct Calls {
    state: State,
    held: String,
    /// Calls so far.
    begun: usize,
    /// The tools that may be called after other words.
    named: Vec<String>,
    /// Whether other words came first.
    is_free: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but space or the beginning of a call so far.
    #[default]
    Beginning,
    Speaking,
    /// Within a call, before its arguments.
    Naming,
    Arguing(Depth),
    /// After the arguments of a call.
    Closing,
    /// After a call.
    Between,
}

/// What stands where a call may begin.
enum Found {
    Call {
        name: String,
        arguments: String,
        /// What follows it.
        rest: String,
    },
    /// Nothing that is a call, whatever follows.
    Nothing,
    /// It may become one.
    Unfinished,
}

/// How deep within the JSON of arguments.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Depth {
    open: u32,
    in_text: bool,
    escaped: bool,
}

/// A piece of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Of what it says.
    Said(String),
    /// A call begins.
    Call {
        /// Which, from 0.
        index: usize,
        /// Of what.
        name: String,
    },
    /// More of a call's arguments.
    Arguments {
        /// Which call's.
        index: usize,
        /// JSON, whole once the call is over.
        json: String,
    },
}

impl Calls {
    /// Looks for calls of these tools after other words, too.
    pub(super) fn among(named: Vec<String>) -> Self {
        Self {
            named,
            ..Self::default()
        }
    }

    /// How many calls have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    /// Takes the next piece of text; gives what is certain by now.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        loop {
            let before = (self.state, self.held.len());
            pieces.extend(self.turn());
            if before == (self.state, self.held.len()) {
                return pieces;
            }
        }
    }

    /// What was held back, once nothing follows.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        let said = matches!(self.state, State::Beginning | State::Speaking) && !rest.is_empty();
        said.then_some(Piece::Said(rest)).into_iter().collect()
    }

    fn turn(&mut self) -> Option<Piece> {
        match self.state {
            State::Beginning | State::Between => self.begin(),
            State::Speaking => self.speak(),
            State::Naming => self.name(),
            State::Arguing(depth) => self.argue(depth),
            State::Closing => {
                if let Some((_, rest)) = self.held.split_once(CALL_ENDS) {
                    self.held = rest.to_owned();
                    self.state = State::Between;
                }
                None
            }
        }
    }

    fn begin(&mut self) -> Option<Piece> {
        let begun = self.held.trim_start();
        if self.is_free {
            // After a call that came after other words; the space between two calls is not said.
            if !begun.is_empty() {
                self.held = begun.to_owned();
                self.state = State::Speaking;
            }
        } else if let Some(rest) = begun.strip_prefix(CALL_BEGINS) {
            self.held = rest.to_owned();
            self.state = State::Naming;
        } else if self.state == State::Beginning && !CALL_BEGINS.starts_with(begun) {
            self.is_free = true;
            self.state = State::Speaking;
        }
        None
    }

    /// Says what is certainly no call.
    fn speak(&mut self) -> Option<Piece> {
        let whole = self.held.len();
        let to = match self.held.find(CALL_BEGINS) {
            _ if self.named.is_empty() => whole,
            None => whole - unfinished(&self.held),
            Some(0) => match self.found() {
                Found::Unfinished => 0,
                Found::Nothing => CALL_BEGINS.len(),
                Found::Call {
                    name,
                    arguments,
                    rest,
                } => {
                    // As the grammar would have had it: from here on it is told as any other.
                    self.held = format!("{NAMED}{name}{ARGUED}{arguments}}}\n{CALL_ENDS}{rest}");
                    self.state = State::Naming;
                    return None;
                }
            },
            Some(before) => before,
        };
        let rest = self.held.split_off(to);
        let said = std::mem::replace(&mut self.held, rest);
        (!said.is_empty()).then_some(Piece::Said(said))
    }

    /// What stands at the beginning of what is held, which is where a call begins.
    fn found(&self) -> Found {
        let body = self.held.get(CALL_BEGINS.len()..).unwrap_or_default();
        let mut values = Deserializer::from_str(body).into_iter::<Value>();
        let call = match values.next() {
            None => return Found::Unfinished,
            Some(Err(error)) if error.is_eof() => return Found::Unfinished,
            Some(Err(_)) => return Found::Nothing,
            Some(Ok(call)) => call,
        };
        let after = body.get(values.byte_offset()..).unwrap_or_default();
        let after = after.trim_start();
        let name = call.get("name").and_then(Value::as_str);
        let name = name.filter(|name| self.named.iter().any(|known| known == name));
        let arguments = call.get("arguments").filter(|given| given.is_object());
        match (name, arguments, after.strip_prefix(CALL_ENDS)) {
            (Some(name), Some(arguments), Some(rest)) => Found::Call {
                name: name.to_owned(),
                arguments: arguments.to_string(),
                rest: rest.to_owned(),
            },
            (Some(_), Some(_), None) if CALL_ENDS.starts_with(after) => Found::Unfinished,
            _ => Found::Nothing,
        }
    }

    fn name(&mut self) -> Option<Piece> {
        let (_, after) = self.held.split_once(NAMED)?;
        let (name, rest) = after.split_once(ARGUED)?;
        let piece = Piece::Call {
            index: self.begun,
            name: name.to_owned(),
        };
        self.held = rest.to_owned();
        self.state = State::Arguing(Depth::default());
        self.begun += 1;
        Some(piece)
    }

    fn argue(&mut self, mut depth: Depth) -> Option<Piece> {
        let ends = self
            .held
            .char_indices()
            .find(|(_, letter)| depth.after(*letter));
        let to = ends.map_or(self.held.len(), |(at, letter)| at + letter.len_utf8());
        let rest = self.held.split_off(to);
        let json = std::mem::replace(&mut self.held, rest);
        self.state = match ends {
            Some(_) => State::Closing,
            None => State::Arguing(depth),
        };
        let index = self.begun.saturating_sub(1);
        (!json.is_empty()).then_some(Piece::Arguments { index, json })
    }
}

impl Depth {
    /// Goes past a letter. Whether that was the last of the object.
    fn after(&mut self, letter: char) -> bool {
        if self.in_text {
            match letter {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_text = false,
                _ => {}
            }
            return false;
        }
        match letter {
            '"' => self.in_text = true,
            '{' | '[' => self.open += 1,
            '}' | ']' => {
                self.open = self.open.saturating_sub(1);
                return self.open == 0;
            }
            _ => {}
        }
        false
    }
}

/// How much of the end may be the beginning of a call, bytes.
fn unfinished(text: &str) -> usize {
    let lengths = (1..CALL_BEGINS.len()).rev();
    let mut found = lengths.filter(|length| text.ends_with(&CALL_BEGINS[..*length]));
    found.next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was said, and each call's name and arguments.
    fn through(pieces: &[&str]) -> (String, Vec<(String, String)>) {
        taken(Calls::default(), pieces)
    }

    fn taken(mut calls: Calls, pieces: &[&str]) -> (String, Vec<(String, String)>) {
        let mut heard: Vec<Piece> = pieces.iter().flat_map(|p| calls.push(p)).collect();
        heard.extend(calls.finish());
        let (mut said, mut called) = (String::new(), Vec::new());
        for piece in heard {
            match piece {
                Piece::Said(text) => said += &text,
                Piece::Call { index, name } => {
                    assert_eq!(index, called.len());
                    called.push((name, String::new()));
                }
                Piece::Arguments { index, json } => called[index].1 += &json,
            }
        }
        assert_eq!(calls.begun(), called.len());
        (said, called)
    }

    #[test]
    fn calls_are_taken_out_across_every_cut() {
        let text = "\n<tool_call>\n{\"name\": \"find\", \"arguments\": {\"q\": \"a \\\"}] ü</tool_call>\", \"n\": [1, {}]}}\n</tool_call>\n\
             <tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>";
        let expected = vec![
            (
                "find".to_owned(),
                "{\"q\": \"a \\\"}] ü</tool_call>\", \"n\": [1, {}]}".to_owned(),
            ),
            ("stop".to_owned(), "{}".to_owned()),
        ];
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for first in &cuts {
            for second in cuts.iter().filter(|second| *second >= first) {
                let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                assert_eq!(
                    through(&pieces),
                    (String::new(), expected.clone()),
                    "{pieces:?}"
                );
            }
        }
    }

    fn offered() -> Calls {
        Calls::among(vec!["find".to_owned(), "stop".to_owned()])
    }

    #[test]
    fn calls_after_other_words_are_taken_out_across_every_cut() {
        let text = "I look < it up.\n<tool_call>{\"name\":\"find\",\"arguments\":{\"q\":\"</tool_call> ü\"}}</tool_call>\n\
             <tool_call>\n{\"arguments\": {}, \"name\": \"stop\"}\n</tool_call> Done.";
        let expected = vec![
            ("find".to_owned(), "{\"q\":\"</tool_call> ü\"}".to_owned()),
            ("stop".to_owned(), "{}".to_owned()),
        ];
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for first in &cuts {
            for second in cuts.iter().filter(|second| *second >= first) {
                let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                let said = "I look < it up.\nDone.".to_owned();
                assert_eq!(
                    taken(offered(), &pieces),
                    (said, expected.clone()),
                    "{pieces:?}"
                );
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_call_is_said() {
        for text in [
            "a <tool_call>",
            "a <tool_call> and </tool_call> b",
            "a <tool_call>{\"name\": \"wand\", \"arguments\": {}}</tool_call>",
            "a <tool_call>{\"name\": \"find\", \"arguments\": 3}</tool_call>",
            "a <tool_call>{\"name\": \"find\", \"arguments\": {}} b</tool_call>",
            "a <tool_call>{\"name\": \"find\", \"arguments\": {\"q\": \"cut o",
            "a <tool_call>{\"name\": \"find\", \"arguments\": {}}</tool",
        ] {
            for cut in text.char_indices().map(|(at, _)| at) {
                let pieces = [&text[..cut], &text[cut..]];
                assert_eq!(
                    taken(offered(), &pieces),
                    (text.to_owned(), Vec::new()),
                    "{pieces:?}"
                );
            }
        }
        let whole = "a <tool_call>{\"name\": \"find\", \"arguments\": {}}</tool_call>";
        assert_eq!(through(&[whole]), (whole.to_owned(), Vec::new()));
    }

    #[test]
    fn an_answer_without_calls_is_as_it_was() {
        for text in ["", " ", "Hi", " <tool", "<tool_calls>", "a <tool_call>"] {
            assert_eq!(through(&[text]), (text.to_owned(), Vec::new()));
        }
        let cut = "<tool_call>\n{\"name\": \"find\", \"arguments\": {\"q\": \"a";
        let expected = vec![("find".to_owned(), "{\"q\": \"a".to_owned())];
        assert_eq!(through(&[cut]), (String::new(), expected));
    }
}
