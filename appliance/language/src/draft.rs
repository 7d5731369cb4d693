//! Guesses from the text so far: where an answer repeats what was said, its next tokens can be computed together.
//!
//! A correction or a structured report copies most of its source. When the latest tokens have stood in the text before,
//! what followed them then is computed beside the next token, in the same pass over the weights. The model still chooses
//! every token itself, from logits that are to the bit those of a token alone: a guess that is not what it chooses is thrown
//! away. So the answer is the same with guesses and without, only sooner.

use std::collections::HashMap;

/// Tokens that must have stood before, in this order.
const SEEN: usize = 3;
/// The longest guess.
const TOKENS_MAX: usize = 8;
/// After a guess of which nothing was right, so many tokens are chosen without one; twice as many after each further one.
const REST_TOKENS: u32 = 8;
/// The longest such rest.
const REST_TOKENS_MAX: u32 = 256;

/// Guesses for one sequence.
#[derive(Debug)]
pub(crate) struct Drafts {
    /// What follows after each three tokens, the latest time that they stood there.
    after: HashMap<[u32; SEEN], usize>,
    /// Tokens whose ends have been entered.
    entered: usize,
    /// How long the next guess may be.
    length: usize,
    /// Tokens to be chosen without a guess.
    rest: u32,
    next_rest: u32,
}

impl Default for Drafts {
    fn default() -> Self {
        Self {
            after: HashMap::new(),
            entered: SEEN,
            length: TOKENS_MAX / 2,
            rest: 0,
            next_rest: REST_TOKENS,
        }
    }
}

impl Drafts {
    /// What may follow `tokens`; nothing when they end as never before.
    pub(crate) fn guess<'a>(&mut self, tokens: &'a [u32], most: usize) -> &'a [u32] {
        if self.rest > 0 || most == 0 {
            self.rest = self.rest.saturating_sub(1);
            return &[];
        }
        // The latest three are looked for before they are entered themselves.
        for end in self.entered..tokens.len() {
            self.after.insert(key(tokens, end), end);
        }
        self.entered = self.entered.max(tokens.len());
        let found = (tokens.len() >= SEEN)
            .then(|| self.after.get(&key(tokens, tokens.len())))
            .flatten();
        let Some(from) = found.copied() else {
            return &[];
        };
        let to = (from + self.length.min(most)).min(tokens.len());
        &tokens[from..to]
    }

    /// Learns how many of a guess were right.
    pub(crate) fn learn(&mut self, guessed: usize, right: usize) {
        if guessed == 0 {
            return;
        }
        if right == guessed {
            self.length = (2 * self.length).min(TOKENS_MAX);
            self.next_rest = REST_TOKENS;
        } else {
            self.length = (right + 1).min(TOKENS_MAX);
        }
        if right == 0 {
            self.rest = self.next_rest;
            self.next_rest = (2 * self.next_rest).min(REST_TOKENS_MAX);
        }
    }
}

fn key(tokens: &[u32], end: usize) -> [u32; SEEN] {
    std::array::from_fn(|at| tokens[end - SEEN + at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_before_is_guessed() {
        let mut drafts = Drafts::default();
        let mut tokens = vec![1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert!(drafts.guess(&tokens, 8).is_empty());
        tokens.extend([2, 3]);
        assert!(drafts.guess(&tokens, 8).is_empty(), "two are too few");
        tokens.push(4);
        assert_eq!(drafts.guess(&tokens, 8), [5, 6, 7, 8]);
        assert_eq!(drafts.guess(&tokens, 2), [5, 6]);
        drafts.learn(4, 4);
        assert_eq!(drafts.guess(&tokens, 8), [5, 6, 7, 8, 9, 2, 3, 4]);
        drafts.learn(8, 1);
        assert_eq!(drafts.guess(&tokens, 8), [5, 6]);
    }

    #[test]
    fn the_latest_time_counts() {
        let mut drafts = Drafts::default();
        let tokens = [1, 2, 3, 4, 1, 2, 3, 5, 1, 2, 3];
        assert_eq!(drafts.guess(&tokens, 1), [5]);
    }

    #[test]
    fn wrong_guesses_make_it_rest() {
        let mut drafts = Drafts::default();
        let tokens = [1, 2, 3, 4, 1, 2, 3];
        assert_eq!(drafts.guess(&tokens, 8), [4, 1, 2, 3]);
        drafts.learn(4, 0);
        for _ in 0..REST_TOKENS {
            assert!(drafts.guess(&tokens, 8).is_empty());
        }
        assert_eq!(drafts.guess(&tokens, 8), [4], "and begins with less");
        assert!(drafts.guess(&tokens[..2], 8).is_empty());
    }
}
