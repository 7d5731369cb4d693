//! What a reasoning model thinks aloud, kept apart from what it answers.
//!
//! Such models begin with `<think>` and end their thoughts with `</think>`. The tags may come in pieces; nothing of them is
//! passed on. An answer that does not begin so has no thoughts.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Takes an answer apart as it comes.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    state: State,
    held: String,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but space or the beginning of the tag so far.
    #[default]
    Beginning,
    /// The tag was there; only space has followed.
    Opening,
    Thinking,
    /// The thoughts are over; only space has followed.
    Pausing,
    Speaking,
}

/// A piece, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) thought: String,
    pub(super) said: String,
}

impl Thoughts {
    /// Takes the next piece; gives what is certain by now.
    pub(super) fn push(&mut self, piece: &str) -> Heard {
        let mut heard = Heard::default();
        self.held.push_str(piece);
        if self.state == State::Beginning {
            let begun = self.held.trim_start();
            if let Some(thought) = begun.strip_prefix(OPEN) {
                self.held = thought.to_owned();
                self.state = State::Opening;
            } else if !OPEN.starts_with(begun) {
                self.state = State::Speaking;
            }
        }
        if self.state == State::Opening {
            self.held = self.held.trim_start().to_owned();
            if !self.held.is_empty() {
                self.state = State::Thinking;
            }
        }
        if self.state == State::Thinking {
            if let Some((thought, rest)) = self.held.split_once(CLOSE) {
                heard.thought = thought.to_owned();
                self.held = rest.to_owned();
                self.state = State::Pausing;
            } else {
                let keep_from = self.held.len() - unfinished(&self.held);
                let kept = self.held.split_off(keep_from);
                heard.thought = std::mem::replace(&mut self.held, kept);
            }
        }
        if self.state == State::Pausing {
            self.held = self.held.trim_start().to_owned();
            if !self.held.is_empty() {
                self.state = State::Speaking;
            }
        }
        if self.state == State::Speaking {
            heard.said = std::mem::take(&mut self.held);
        }
        heard
    }

    /// What was held back, once nothing follows.
    pub(super) fn finish(&mut self) -> Heard {
        let rest = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => Heard {
                thought: rest,
                ..Heard::default()
            },
            _ => Heard {
                said: rest,
                ..Heard::default()
            },
        }
    }
}

/// How much of the end may be the beginning of the closing tag, bytes.
fn unfinished(text: &str) -> usize {
    let lengths = (1..CLOSE.len()).rev();
    let mut found = lengths.filter(|length| text.ends_with(&CLOSE[..*length]));
    found.next().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(pieces: &[&str]) -> (String, String) {
        let mut thoughts = Thoughts::default();
        let mut heard: Vec<Heard> = pieces.iter().map(|piece| thoughts.push(piece)).collect();
        heard.push(thoughts.finish());
        let thought = heard.iter().map(|heard| heard.thought.as_str()).collect();
        let said = heard.iter().map(|heard| heard.said.as_str()).collect();
        (thought, said)
    }

    #[test]
    fn thoughts_are_taken_out_across_every_cut() {
        let text = "\n<think>\nIst 3 < 4? Süß.</think>\n\nJa </think>.";
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for first in &cuts {
            for second in cuts.iter().filter(|second| *second >= first) {
                let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                let expected = ("Ist 3 < 4? Süß.".to_owned(), "Ja </think>.".to_owned());
                assert_eq!(through(&pieces), expected, "{pieces:?}");
            }
        }
    }

    #[test]
    fn an_answer_without_thoughts_is_as_it_was() {
        for text in [
            "",
            " ",
            "Hi",
            " <thin",
            "<thinking> aloud",
            "a <think>b</think>",
        ] {
            assert_eq!(through(&[text]), (String::new(), text.to_owned()));
        }
        assert_eq!(through(&["<think>cut o"]), ("cut o".into(), String::new()));
    }
}
