//! How long a request would wait for its turn: what is known of the work ahead, and how fast work has gone lately.

use crate::kernels::pages::Cache;
use pericard_domain::job::Priority;

/// The tokens of an answer, before any has ended.
const ANSWER_TOKENS: f64 = 200.0;
/// How fast prompts are read, before any was, tokens/s: slow enough to promise nothing.
const TOKENS_PER_S: f64 = 50.0;

/// How fast work has gone lately.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Forecast {
    /// How long a step takes, seconds.
    pub(crate) step_s: f64,
    /// How long an answer is, tokens.
    pub(crate) answer_tokens: f64,
    /// How fast prompts are read, all of them together.
    pub(crate) tokens_per_s: f64,
}

/// One request, as far as it keeps others waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ahead {
    pub(crate) class: Priority,
    /// Who asked: a number for each caller.
    pub(crate) caller: u64,
    /// All its tokens so far.
    pub(crate) tokens: usize,
    /// Those of them that are still to be read: one while it answers.
    pub(crate) pending: usize,
    /// Tokens that it may still say.
    pub(crate) answer_max: usize,
}

/// Requests in the order in which they get places.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Queue {
    pub(crate) requests: Vec<Ahead>,
    /// How many of them have been let in already.
    pub(crate) running: usize,
    pub(crate) places: usize,
    /// Pages for the keys and values of all that have a place.
    pub(crate) pages: usize,
}

impl Forecast {
    /// Learns how long a step took.
    pub(crate) fn step(&mut self, took_s: f64) {
        let weight = if self.step_s == 0.0 { 1.0 } else { 0.1 };
        self.step_s += weight * (took_s - self.step_s);
    }

    /// Learns how long an answer was.
    pub(crate) fn answer(&mut self, tokens: usize) {
        let weight = if self.answer_tokens == 0.0 { 1.0 } else { 0.2 };
        self.answer_tokens += weight * (tokens as f64 - self.answer_tokens);
    }

    /// How many tokens an answer is expected to have that may have no more than `most`.
    pub(crate) fn expected(&self, most: usize) -> f64 {
        let expected = if self.answer_tokens > 0.0 {
            self.answer_tokens
        } else {
            ANSWER_TOKENS
        };
        expected.min(most as f64)
    }

    /// How many pages a request with so many tokens is expected to need that may say no more than `answer_max`.
    pub(crate) fn pages(&self, tokens: usize, answer_max: usize) -> usize {
        let answer = self.expected(answer_max) as usize;
        Cache::pages_for(tokens + answer.max(1))
    }

    /// How long the last of a queue waits for a place, seconds.
    pub(crate) fn wait_s(&self, queue: &Queue) -> f64 {
        let mut course = Course::begin(*self, queue);
        while course.seated < queue.requests.len() && course.next_end().is_some() {
            course.seat();
        }
        course.now_s
    }

    /// How long until so many requests of a queue have ended that `count`, seconds.
    pub(crate) fn ends_s(&self, queue: &Queue, ends: usize, count: impl Fn(&Ahead) -> bool) -> f64 {
        let (mut course, mut ended) = (Course::begin(*self, queue), 0);
        while ended < ends
            && let Some(request) = course.next_end()
        {
            ended += usize::from(count(&request));
            course.seat();
        }
        course.now_s
    }
}

/// A queue as it is worked off. One reader reads the prompts of all that have a place: those of a caller one after another,
/// those of several callers by turns. An answer is said beside others once its prompt is read.
struct Course<'a> {
    forecast: Forecast,
    queue: &'a Queue,
    now_s: f64,
    /// How many have got a place so far.
    seated: usize,
    placed: Vec<Placed>,
}

/// A request that has a place.
struct Placed {
    request: Ahead,
    /// Tokens of its prompt that are not read.
    unread: f64,
    /// How long its answer takes from then on.
    unsaid_s: f64,
}

impl<'a> Course<'a> {
    fn begin(forecast: Forecast, queue: &'a Queue) -> Self {
        let mut course = Self {
            forecast,
            queue,
            now_s: 0.0,
            seated: 0,
            placed: Vec::new(),
        };
        course.seat();
        course
    }

    /// Gives places in order, as long as there are any and there is memory. Nobody overtakes one that does not fit.
    fn seat(&mut self) {
        while let Some(request) = self.queue.requests.get(self.seated) {
            let is_let_in = self.seated < self.queue.running || self.placed.is_empty();
            if self.placed.len() >= self.queue.places.max(1) || !(is_let_in || self.fits(request)) {
                return;
            }
            // A single pending token is the latest of an answer.
            let unread = match request.pending {
                0 | 1 => 0.0,
                pending => pending as f64,
            };
            self.placed.push(Placed {
                request: *request,
                unread,
                unsaid_s: self.forecast.expected(request.answer_max) * self.forecast.step_s,
            });
            self.seated += 1;
        }
    }

    fn fits(&self, request: &Ahead) -> bool {
        let needs = |request: &Ahead| self.forecast.pages(request.tokens, request.answer_max);
        let others: usize = self.placed.iter().map(|p| needs(&p.request)).sum();
        others + needs(request) <= self.queue.pages
    }

    /// Goes on until the next request ends, and gives it; `None` when none has a place.
    fn next_end(&mut self) -> Option<Ahead> {
        loop {
            let reads: Vec<bool> = (0..self.placed.len()).map(|at| self.reads(at)).collect();
            let readers = reads.iter().filter(|reads| **reads).count();
            let pace = self.tokens_per_s() / readers.max(1) as f64;
            let left_s = |(placed, reads): (&Placed, &bool)| match (placed.unread > 0.0, reads) {
                (true, true) => placed.unread / pace,
                (true, false) => f64::INFINITY,
                (false, _) => placed.unsaid_s,
            };
            let left_s: Vec<f64> = self.placed.iter().zip(&reads).map(left_s).collect();
            let first = (0..left_s.len()).min_by(|a, b| left_s[*a].total_cmp(&left_s[*b]))?;
            let took_s = left_s[first];
            self.now_s += took_s;
            for (placed, reads) in self.placed.iter_mut().zip(&reads) {
                if *reads {
                    placed.unread = (placed.unread - took_s * pace).max(0.0);
                } else if placed.unread == 0.0 {
                    placed.unsaid_s = (placed.unsaid_s - took_s).max(0.0);
                }
            }
            if !reads[first] {
                return Some(self.placed.remove(first).request);
            }
            self.placed[first].unread = 0.0; // whatever rounding left of it
        }
    }

    /// Whether a prompt is read now: a caller's are read one after another.
    fn reads(&self, at: usize) -> bool {
        let caller = self.placed[at].request.caller;
        let is_before = |p: &Placed| p.unread > 0.0 && p.request.caller == caller;
        self.placed[at].unread > 0.0 && !self.placed[..at].iter().any(is_before)
    }

    fn tokens_per_s(&self) -> f64 {
        if self.forecast.tokens_per_s > 0.0 {
            self.forecast.tokens_per_s
        } else {
            TOKENS_PER_S
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(caller: u64, prompt: usize, answer_max: usize) -> Ahead {
        Ahead {
            class: Priority::Routine,
            caller,
            tokens: prompt,
            pending: prompt,
            answer_max,
        }
    }

    /// A queue with plenty of memory, of which so many have been let in.
    fn queue(requests: &[Ahead], running: usize, places: usize) -> Queue {
        Queue {
            requests: requests.to_vec(),
            running,
            places,
            pages: 1 << 20,
        }
    }

    /// Reads so many tokens a second and says twenty.
    fn forecast(tokens_per_s: f64) -> Forecast {
        let mut forecast = Forecast {
            tokens_per_s,
            ..Forecast::default()
        };
        forecast.step(0.05);
        forecast
    }

    fn assert_near(foretold_s: f64, expected_s: f64) {
        let off = (foretold_s - expected_s).abs();
        assert!(off < 1e-6, "{foretold_s} and not {expected_s}");
    }

    #[test]
    fn a_free_place_is_free_at_once() {
        let forecast = Forecast::default();
        let own = ahead(1, 1000, 10);
        assert_eq!(forecast.wait_s(&queue(&[own], 0, 2)), 0.0);
        assert_eq!(forecast.wait_s(&queue(&[own, own], 1, 2)), 0.0);
    }

    #[test]
    fn the_queue_is_worked_off_by_all_places() {
        let mut forecast = Forecast {
            tokens_per_s: 100.0,
            ..Forecast::default()
        };
        forecast.step(0.1);
        forecast.answer(50);
        // 1 s to read and 5 s to say: the second is read when the first is, and so on.
        let own = ahead(1, 100, 1000);
        assert_near(forecast.wait_s(&queue(&[own; 3], 2, 2)), 6.0);
        assert_near(forecast.wait_s(&queue(&[own; 4], 2, 2)), 7.0);
        assert_near(forecast.wait_s(&queue(&[own; 5], 2, 2)), 12.0);
        assert_near(forecast.wait_s(&queue(&[own; 6], 2, 2)), 13.0);
        // An answer that may be short is.
        assert_near(
            forecast.wait_s(&queue(&[ahead(1, 100, 10), own], 1, 1)),
            2.0,
        );
    }

    /// One reader reads them all, however many places there are.
    #[test]
    fn eight_long_prompts_are_not_read_as_fast_as_one() {
        let forecast = forecast(400.0);
        let of_callers = |callers: u64| -> Vec<Ahead> {
            let requests = (0..9).map(|n| ahead(n % callers, 4096, 200));
            requests.collect()
        };
        // By turns: all are read after 8 * 4096 / 400 s, and say 200 tokens from then on.
        assert_near(forecast.wait_s(&queue(&of_callers(9), 8, 8)), 81.92 + 10.0);
        // One after another: the first is read after 4096 / 400 s.
        assert_near(forecast.wait_s(&queue(&of_callers(1), 8, 8)), 10.24 + 10.0);
        // One that answers already is done before any of them is read.
        let mut requests = of_callers(9);
        requests[3].pending = 1;
        requests[3].answer_max = 40;
        assert_near(forecast.wait_s(&queue(&requests, 8, 8)), 2.0);
    }

    #[test]
    fn short_memory_is_fewer_places() {
        let forecast = forecast(1000.0);
        // 800 tokens and 200 to say take 32 pages of 32 tokens each.
        let own = ahead(1, 800, 200);
        let with = |pages: usize| Queue {
            pages,
            ..queue(&[own; 3], 2, 4)
        };
        assert_near(forecast.wait_s(&with(3 * 32)), 0.0);
        // Two have it: the first is read after 0.8 s and says its answer in 10 s.
        assert_near(forecast.wait_s(&with(3 * 32 - 1)), 10.8);
        let waiting = |pages: usize| Queue {
            running: 0,
            ..with(pages)
        };
        assert_near(forecast.wait_s(&waiting(2 * 32)), 10.8);
        // One at a time. What fits nowhere is let in alone.
        assert_near(forecast.wait_s(&waiting(32)), 21.6);
        assert_near(forecast.wait_s(&waiting(1)), 21.6);
    }

    #[test]
    fn a_caller_is_told_when_its_own_ends() {
        let forecast = forecast(100.0);
        let answering = |caller, answer_max| Ahead {
            pending: 1,
            ..ahead(caller, 500, answer_max)
        };
        let requests = [answering(1, 20), answering(2, 100), ahead(2, 100, 20)];
        let queue = queue(&requests, 2, 2);
        assert_near(forecast.ends_s(&queue, 1, |_| true), 1.0);
        assert_near(forecast.ends_s(&queue, 2, |_| true), 3.0);
        // Its second one gets the place after 1 s, is read until 2 s, and says 20 tokens until 3 s.
        assert_near(forecast.ends_s(&queue, 1, |ahead| ahead.caller == 2), 3.0);
        assert_near(forecast.ends_s(&queue, 2, |ahead| ahead.caller == 2), 5.0);
    }
}
