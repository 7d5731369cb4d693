//! Beginnings of prompts whose keys and values are still there, so that the next prompt that begins alike need not be
//! read again.
//!
//! Pages are found by a chain of digests: of the scope, then of each page's tokens with the digest before. A scope is
//! who may share (a caller, or one of its patients): the chain begins with it, so nothing that another scope computed
//! can ever be found. Being row-independent, what is found is to the bit what would be computed again.

use crate::kernels::attention::PAGE;
use crate::kernels::pages::{Cache, PageId};
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

/// A beginning of some pages of tokens, within a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Beginning {
    digest: [u8; 32],
    pages: usize,
}

/// The beginnings that are kept. It holds each of their pages.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    kept: HashMap<Beginning, Kept>,
}

#[derive(Debug)]
struct Kept {
    page: PageId,
    used: Duration,
}

impl Beginning {
    /// Of nothing yet.
    pub(crate) fn of(scope: &str) -> Self {
        Self {
            digest: Sha256::digest(scope).into(),
            pages: 0,
        }
    }

    /// With one more page of tokens.
    pub(crate) fn then(&self, page: &[u32]) -> Self {
        let mut digest = Sha256::new_with_prefix(self.digest);
        for token in page {
            digest.update(token.to_le_bytes());
        }
        Self {
            digest: digest.finalize().into(),
            pages: self.pages + 1,
        }
    }

    /// How many pages it has.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }
}

impl Prefixes {
    /// With room for so many pages at once, so that no step has to make it.
    pub(crate) fn with_room(pages: usize) -> Self {
        Self {
            kept: HashMap::with_capacity(pages),
        }
    }

    /// The longest beginning of `tokens` that is kept, and its pages, which are now held for the caller as well. The last
    /// token is never part of it: its logits are wanted.
    pub(crate) fn find(
        &mut self,
        mut beginning: Beginning,
        tokens: &[u32],
        now: Duration,
        cache: &mut Cache,
    ) -> (Beginning, Vec<PageId>) {
        let mut pages = Vec::new();
        for page in tokens[..tokens.len().saturating_sub(1)].chunks_exact(PAGE) {
            let next = beginning.then(page);
            let Some(kept) = self.kept.get_mut(&next) else {
                break;
            };
            kept.used = now;
            cache.hold(kept.page);
            pages.push(kept.page);
            beginning = next;
        }
        (beginning, pages)
    }

    /// Keeps the last page of a beginning, unless an equal one is kept already.
    pub(crate) fn keep(
        &mut self,
        beginning: Beginning,
        page: PageId,
        now: Duration,
        cache: &mut Cache,
    ) {
        let kept = self.kept.entry(beginning).or_insert_with(|| {
            cache.hold(page);
            Kept { page, used: now }
        });
        kept.used = now;
    }

    /// Lets go of the page that nobody has used for longest, the end of a beginning before what it begins with. `false`
    /// when all pages are in use.
    pub(crate) fn evict(&mut self, cache: &mut Cache) -> bool {
        let oldest = self
            .kept
            .iter()
            .filter(|(_, kept)| cache.holders(kept.page) == 1)
            .min_by_key(|(beginning, kept)| (kept.used, Reverse(beginning.pages), beginning.digest))
            .map(|(beginning, _)| *beginning);
        let gone = oldest.and_then(|beginning| self.kept.remove(&beginning));
        gone.map(|kept| cache.give([kept.page])).is_some()
    }

    /// Lets go of everything that was not used since `limit`.
    pub(crate) fn forget_before(&mut self, limit: Duration, cache: &mut Cache) {
        self.kept.retain(|_, kept| {
            let keep = kept.used >= limit;
            if !keep {
                cache.give([kept.page]);
            }
            keep
        });
    }

    /// When the oldest of what is kept was used.
    pub(crate) fn oldest(&self) -> Option<Duration> {
        self.kept.values().map(|kept| kept.used).min()
    }

    /// How many pages nobody but this holds.
    pub(crate) fn idle_pages(&self, cache: &Cache) -> usize {
        let idle = |kept: &&Kept| cache.holders(kept.page) == 1;
        self.kept.values().filter(idle).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::pages::tests::small;

    const NOW: Duration = Duration::from_secs(1);

    fn tokens(count: usize) -> Vec<u32> {
        (0..).take(count).collect()
    }

    /// Fills a cache's pages with a beginning of `count` tokens, as a sequence that has ended leaves it.
    fn leave(prefixes: &mut Prefixes, cache: &mut Cache, scope: &str, count: usize, at: Duration) {
        let mut beginning = Beginning::of(scope);
        for page in tokens(count).chunks_exact(PAGE) {
            beginning = beginning.then(page);
            let id = cache.take().expect("a free page");
            prefixes.keep(beginning, id, at, cache);
            cache.give([id]);
        }
    }

    #[test]
    fn a_beginning_is_found_within_its_scope_only() {
        let (mut prefixes, mut cache) = (Prefixes::default(), small(8));
        leave(&mut prefixes, &mut cache, "a", 3 * PAGE, NOW);
        let mut found = |scope: &str, tokens: &[u32]| {
            let (beginning, pages) = prefixes.find(Beginning::of(scope), tokens, NOW, &mut cache);
            assert_eq!(beginning.pages(), pages.len());
            pages.len()
        };
        assert_eq!(found("b", &tokens(4 * PAGE)), 0);
        assert_eq!(found("a", &tokens(4 * PAGE)), 3);
        assert_eq!(
            found("a", &tokens(3 * PAGE)),
            2,
            "the last token is computed"
        );
        assert_eq!(found("a", &tokens(PAGE - 1)), 0);
        let mut other = tokens(4 * PAGE);
        other[PAGE] = 7;
        assert_eq!(found("a", &other), 1, "up to the first page that differs");
        assert_eq!(found("a", &tokens(4 * PAGE)[1..]), 0);
    }

    #[test]
    fn what_is_oldest_and_unused_goes_first_and_goes_empty() {
        let (mut prefixes, mut cache) = (Prefixes::default(), small(4));
        leave(&mut prefixes, &mut cache, "old", 2 * PAGE, NOW);
        leave(&mut prefixes, &mut cache, "new", 2 * PAGE, 2 * NOW);
        assert_eq!((cache.free_pages(), prefixes.idle_pages(&cache)), (0, 4));
        let (_, held) = prefixes.find(Beginning::of("old"), &tokens(PAGE + 1), 3 * NOW, &mut cache);
        assert_eq!(held.len(), 1);
        cache.scribble(held[0]);
        assert!(prefixes.evict(&mut cache), "the second page of the old one");
        assert!(prefixes.evict(&mut cache) && prefixes.evict(&mut cache));
        assert!(!prefixes.evict(&mut cache), "what is in use stays");
        cache.give(held.iter().copied());
        assert!(!cache.is_empty(held[0]), "it is still kept");
        prefixes.forget_before(4 * NOW, &mut cache);
        assert!(cache.is_empty(held[0]));
        assert_eq!((cache.free_pages(), prefixes.oldest()), (4, None));
    }
}
