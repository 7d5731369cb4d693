//! Stop texts: nothing of them is ever sent, even where they begin in one token and end in another.

/// Watches the text that goes out.
#[derive(Debug)]
pub(crate) struct StopWatch {
    stops: Vec<String>,
    held: String,
}

impl StopWatch {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            held: String::new(),
        }
    }

    /// Takes the next piece; gives what may go out, and whether a stop text was reached.
    pub(crate) fn push(&mut self, piece: &str) -> (String, bool) {
        self.held.push_str(piece);
        let reached = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(at) = reached {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let keep_from = self.held.len() - self.longest_beginning();
        let kept = self.held.split_off(keep_from);
        (std::mem::replace(&mut self.held, kept), false)
    }

    /// What was held back, once it is certain that nothing follows.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// How much of the end of what is held may be the beginning of a stop text, bytes.
    fn longest_beginning(&self) -> usize {
        let longest = |stop: &String| {
            stop.char_indices()
                .map(|(at, _)| at)
                .filter(|at| self.held.ends_with(&stop[..*at]))
                .max()
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut watch = StopWatch::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut out = String::new();
        for piece in pieces {
            let (text, stopped) = watch.push(piece);
            out.push_str(&text);
            if stopped {
                return (out, true);
            }
        }
        out.push_str(&watch.finish());
        (out, false)
    }

    #[test]
    fn a_stop_is_found_across_every_cut() {
        let text = "Befund: Süß.###END und mehr";
        let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for first in &cuts {
            for second in cuts.iter().filter(|second| *second >= first) {
                let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                assert_eq!(
                    through(&["###END", "mehr"], &pieces),
                    ("Befund: Süß.".to_owned(), true)
                );
            }
        }
    }

    #[test]
    fn what_only_looks_like_a_stop_goes_out() {
        assert_eq!(
            through(&["aab"], &["a", "a", "a", "c"]),
            ("aaac".to_owned(), false)
        );
        assert_eq!(through(&["aab"], &["x", "aa"]), ("xaa".to_owned(), false));
        assert_eq!(
            through(&["ü!"], &["gr", "ü", "n"]),
            ("grün".to_owned(), false)
        );
        assert_eq!(through(&[], &["a", "b"]), ("ab".to_owned(), false));
    }
}
