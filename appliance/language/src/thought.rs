//! A reasoning model's thoughts, as the engine sees them: how long they may be, and from where on an answer is held to its
//! shape.
//!
//! Thoughts stand between `<think>` and `</think>`. Where the template has begun them they are free of the answer's shape,
//! which holds from their end on. When they have taken as many tokens as they may, the engine itself ends them, and the
//! model goes on from there with its answer.

/// What begins thoughts.
pub(crate) const OPEN: &str = "<think>";
/// What ends them.
pub(crate) const CLOSE: &str = "</think>";
/// What the engine writes to end them.
pub(crate) const CLOSING: &str = "\n</think>\n\n";

/// How far the thoughts of one answer are.
#[derive(Debug)]
pub(crate) struct Thought {
    state: State,
    /// The latest text, as long as it may become a tag.
    tail: String,
    tokens: u32,
    tokens_max: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but space or the beginning of the tag so far.
    Beginning,
    Thinking,
    /// Over, or there were none.
    Over,
}

impl Thought {
    /// `begun` is whether the template has begun them.
    pub(crate) fn new(begun: bool, tokens_max: Option<u32>) -> Self {
        Self {
            state: if begun {
                State::Thinking
            } else {
                State::Beginning
            },
            tail: String::new(),
            tokens: 0,
            tokens_max,
        }
    }

    /// Whether what comes next is a thought.
    pub(crate) fn is_under_way(&self) -> bool {
        self.state == State::Thinking
    }

    /// How many tokens they have taken.
    pub(crate) fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Whether the thoughts have taken as much as they may.
    pub(crate) fn is_spent(&self) -> bool {
        self.is_under_way() && self.tokens_max.is_some_and(|max| self.tokens >= max)
    }

    /// Takes the text of one more token.
    pub(crate) fn take(&mut self, text: &str) {
        if self.state == State::Over {
            return;
        }
        self.tail.push_str(text);
        if self.state == State::Beginning {
            let begun = self.tail.trim_start();
            if let Some(rest) = begun.strip_prefix(OPEN) {
                self.tail = rest.to_owned();
                self.state = State::Thinking;
            } else if !OPEN.starts_with(begun) {
                self.state = State::Over;
                self.tail = String::new();
            }
            return;
        }
        self.tokens = self.tokens.saturating_add(1);
        if self.tail.contains(CLOSE) {
            self.state = State::Over;
            self.tail = String::new();
        } else {
            let keep_from = self.tail.len().saturating_sub(CLOSE.len());
            self.tail = self.tail.split_off(self.tail.ceil_char_boundary(keep_from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_end_across_every_cut() {
        let text = "\n<think>Süß, 3 < 4</thin, no</think> Ja";
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for cut in &cuts {
            let mut thought = Thought::new(false, None);
            thought.take(&text[..*cut]);
            thought.take(&text[*cut..]);
            thought.take(" and more");
            assert!(!thought.is_under_way(), "{cut}");
        }
        let mut thought = Thought::new(false, None);
        let mut under_way = 0;
        for letter in text.chars() {
            thought.take(&letter.to_string());
            under_way += usize::from(thought.is_under_way());
        }
        // From the end of the opening tag until before the end of the closing one.
        let within = "Süß, 3 < 4</thin, no</think".chars().count();
        assert_eq!(under_way, 1 + within);
    }

    #[test]
    fn an_answer_without_thoughts_has_none() {
        let mut thought = Thought::new(false, Some(0));
        thought.take("<thinking> aloud");
        assert!(!thought.is_under_way() && !thought.is_spent());
    }

    #[test]
    fn a_budget_is_spent_token_by_token() {
        let mut thought = Thought::new(true, Some(2));
        assert!(!thought.is_spent());
        thought.take("a");
        assert!(!thought.is_spent());
        thought.take("b");
        assert!(thought.is_spent());
        thought.take(CLOSING);
        assert!(!thought.is_under_way() && !thought.is_spent());
        thought.take("yes");
        assert_eq!(
            thought.tokens(),
            3,
            "with what ends them, not with the answer"
        );
        assert!(Thought::new(true, Some(0)).is_spent());
    }
}
