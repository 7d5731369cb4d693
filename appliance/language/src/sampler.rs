//! How the next token is chosen.

use pericard_domain::chat::Sampling;
use std::collections::BTreeMap;

/// Chooses tokens for one sequence. Randomness comes from the seed and the token's number alone, so the same seed
/// gives the same text whatever else runs.
#[derive(Debug)]
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    seed: u64,
    drawn: u64,
    candidates: Vec<(f32, u32)>,
    presence_penalty: f32,
    frequency_penalty: f32,
    /// How often each token was chosen.
    chosen: BTreeMap<u32, u32>,
}

impl Sampler {
    pub(crate) fn new(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            seed: sampling.seed,
            drawn: 0,
            candidates: Vec::new(),
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            chosen: BTreeMap::new(),
        }
    }

    /// Whether [`Self::penalise`] changes anything.
    pub(crate) fn penalises(&self) -> bool {
        self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// Makes likelier or less likely what was chosen before.
    pub(crate) fn penalise(&self, logits: &mut [f32]) {
        for (token, times) in &self.chosen {
            logits[*token as usize] -=
                self.presence_penalty + self.frequency_penalty * *times as f32;
        }
    }

    /// Notes what was chosen.
    pub(crate) fn note(&mut self, token: u32) {
        if self.penalises() {
            *self.chosen.entry(token).or_default() += 1;
        }
    }

    /// The next token, by its logits.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> u32 {
        let best = likeliest(logits);
        if self.temperature <= 0.0 {
            return best;
        }
        let chance = self.next_chance();
        let peak = logits[best as usize];
        let weight = |logit: f32| ((logit - peak) / self.temperature).exp();
        let total: f64 = logits.iter().map(|logit| f64::from(weight(*logit))).sum();
        let wanted = total * f64::from(self.top_p);
        if self.top_p >= 1.0 {
            let all = logits
                .iter()
                .zip(0..)
                .map(|(logit, id)| (weight(*logit), id));
            return walk(all, chance * total).unwrap_or(best);
        }
        // Only the upper part is sorted: the floor sinks until what lies above it has the wanted share.
        let mut floor = 1e-2;
        loop {
            self.candidates.clear();
            let above = logits
                .iter()
                .zip(0..)
                .map(|(logit, id)| (weight(*logit), id))
                .filter(|(w, _)| *w >= floor);
            self.candidates.extend(above);
            let covered: f64 = self
                .candidates
                .iter()
                .map(|(weight, _)| f64::from(*weight))
                .sum();
            if covered >= wanted || floor == 0.0 {
                break;
            }
            floor = if floor < 1e-9 { 0.0 } else { floor * 1e-2 };
        }
        self.candidates
            .sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut share = 0.0;
        let nucleus = self.candidates.iter().take_while(|(weight, _)| {
            let first_beyond = share < wanted || share == 0.0;
            share += f64::from(*weight);
            first_beyond
        });
        let nucleus = nucleus.count();
        let nucleus = &self.candidates[..nucleus];
        let mass: f64 = nucleus.iter().map(|(weight, _)| f64::from(*weight)).sum();
        walk(nucleus.iter().copied(), chance * mass).unwrap_or(best)
    }

    /// A number from zero to below one: SplitMix64 of the seed and of how many were drawn before.
    fn next_chance(&mut self) -> f64 {
        self.drawn += 1;
        let mut bits = self
            .seed
            .wrapping_add(self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The logarithm of each probability, for the tokens with these logits.
pub(crate) fn log_probabilities(logits: &[f32], of: &[u32]) -> Vec<f32> {
    let peak = f64::from(logits[likeliest(logits) as usize]);
    let total: f64 = logits.iter().map(|l| (f64::from(*l) - peak).exp()).sum();
    let logarithm = |id: &u32| (f64::from(logits[*id as usize]) - peak - total.ln()) as f32;
    of.iter().map(logarithm).collect()
}

/// The likeliest tokens in order; of equals the first first.
pub(crate) fn likeliest_of(logits: &[f32], count: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..).take(logits.len()).collect();
    let order = |a: &u32, b: &u32| {
        let (left, right) = (logits[*a as usize], logits[*b as usize]);
        right.total_cmp(&left).then(a.cmp(b))
    };
    let count = count.min(ids.len());
    if count > 0 && count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
    }
    ids.truncate(count);
    ids.sort_unstable_by(order);
    ids
}

/// The likeliest token; of equals the first.
pub(crate) fn likeliest(logits: &[f32]) -> u32 {
    let best = logits
        .iter()
        .zip(0..)
        .fold((f32::NEG_INFINITY, 0), |best, (logit, id)| {
            if *logit > best.0 { (*logit, id) } else { best }
        });
    best.1
}

fn walk(candidates: impl Iterator<Item = (f32, u32)>, mut left: f64) -> Option<u32> {
    let mut last = None;
    for (weight, id) in candidates {
        left -= f64::from(weight);
        if weight > 0.0 {
            last = Some(id);
        }
        if left < 0.0 {
            return Some(id);
        }
    }
    last // only rounding leaves anything over
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(&Sampling {
            temperature,
            top_p,
            seed,
            ..Sampling::default()
        })
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits: Vec<f32> = [0.5_f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let mut counts = [0_i32; 4];
        let mut sampler = sampler(1.0, 1.0, 42);
        for _ in 0..20_000 {
            counts[sampler.choose(&logits) as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([10_000, 6_000, 3_000, 1_000]) {
            assert!((*count - expected).abs() < 400, "{counts:?}");
        }
    }

    #[test]
    fn top_p_keeps_to_the_nucleus() {
        let mut logits: Vec<f32> = vec![-30.0; 1000];
        (logits[7], logits[3], logits[500]) = (0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln());
        let mut sampler = sampler(1.0, 0.8, 1);
        let drawn: std::collections::HashSet<u32> =
            (0..2_000).map(|_| sampler.choose(&logits)).collect();
        assert_eq!(drawn, std::collections::HashSet::from([7, 3]));
        let mut narrow = super::tests::sampler(1.0, 0.0, 1);
        assert!((0..100).all(|_| narrow.choose(&logits) == 7));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32 / 3.0).collect();
        let draw = |seed| {
            let mut sampler = sampler(0.9, 0.95, seed);
            (0..50).map(|_| sampler.choose(&logits)).collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn what_was_chosen_is_penalised_once_and_for_every_time() {
        let mut sampler = Sampler::new(&Sampling {
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            ..Sampling::default()
        });
        [3, 3, 1].into_iter().for_each(|token| sampler.note(token));
        let mut logits = [1.0; 5];
        sampler.penalise(&mut logits);
        assert_eq!(logits, [1.0, 0.25, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn probabilities_are_told_in_order_and_sum_to_one() {
        let logits = [0.0, 3.0, -1.0, 3.0, 2.0];
        assert_eq!(likeliest_of(&logits, 3), [1, 3, 4]);
        assert_eq!(likeliest_of(&logits, 9), [1, 3, 4, 0, 2]);
        assert_eq!(likeliest_of(&logits, 0), [0; 0]);
        let all = log_probabilities(&logits, &[0, 1, 2, 3, 4]);
        let total: f32 = all.iter().map(|logarithm| logarithm.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5 && (all[1] - all[0] - 3.0).abs() < 1e-5);
    }

    #[test]
    fn zero_temperature_takes_the_first_of_the_best() {
        assert_eq!(sampler(0.0, 1.0, 0).choose(&[0.0, 3.0, 3.0, 1.0]), 1);
    }
}
