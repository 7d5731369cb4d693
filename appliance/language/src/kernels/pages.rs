//! Keys and values of all sequences, in pages of one slab that never grows.
//!
//! A page holds [`PAGE`] positions of every layer and head. The slab is reserved once; the system gives it memory
//! only as pages are written. A page may have several holders: full pages are shared, and never written again. Once the
//! last one gives it back, it is overwritten with zeros before anybody else can have it: nothing of one patient's text
//! stays for the next.

use super::attention::{MAX_HEAD_WIDTH, PAGE, PageView};
use super::pool::{Disjoint, Pool};
use crate::architecture::Architecture;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// A page's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PageId(u32);

/// All pages.
pub(crate) struct Cache {
    slab: Vec<u16>,
    /// Where the pages lie elsewhere: those that are to be emptied there.
    to_empty: Option<Vec<PageId>>,
    free: Vec<PageId>,
    /// How many hold each page.
    holders: Vec<u32>,
    pages: usize,
    kv_heads: usize,
    head_width: usize,
    /// Values in a page, of one layer and head in a page, and of its keys alone.
    page_length: usize,
    head_length: usize,
}

/// Rows of one sequence in a batch: neighbours, at consecutive positions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    /// The position of the first row.
    pub(crate) position: usize,
    /// The pages of the sequence, from its beginning.
    pub(crate) pages: Vec<PageId>,
}

impl PageId {
    /// Counted from zero.
    #[cfg(any(test, feature = "device"))]
    pub(crate) fn number(self) -> usize {
        self.0 as usize
    }
}

impl Cache {
    /// As many pages as fit into `bytes_max`.
    pub(crate) fn new(shape: &Architecture, bytes_max: usize) -> Self {
        let mut cache = Self::sized(shape, bytes_max);
        cache.slab = vec![0; cache.pages * cache.page_length];
        cache
    }

    /// Without the memory.
    fn sized(shape: &Architecture, bytes_max: usize) -> Self {
        let head_length = 2 * shape.head_width * PAGE;
        let page_length = shape.layers * shape.kv_heads * head_length;
        let pages = (bytes_max / 2 / page_length).min(u32::MAX as usize);
        Self {
            slab: Vec::new(),
            to_empty: None,
            free: (0..pages as u32).rev().map(PageId).collect(),
            holders: vec![0; pages],
            pages,
            kv_heads: shape.kv_heads,
            head_width: shape.head_width,
            page_length,
            head_length,
        }
    }

    /// The ledger of as many pages as fit into `bytes_max` of somebody else's memory: whoever keeps them empties what
    /// [`Self::emptied`] names.
    #[cfg(any(test, feature = "device"))]
    pub(crate) fn elsewhere(shape: &Architecture, bytes_max: usize) -> Self {
        let mut cache = Self {
            slab: Vec::new(),
            ..Self::sized(shape, bytes_max)
        };
        cache.to_empty = Some(Vec::new());
        cache
    }

    /// The pages that were given back since the last time and are to be overwritten elsewhere.
    #[cfg(any(test, feature = "device"))]
    pub(crate) fn emptied(&mut self) -> Vec<PageId> {
        self.to_empty
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Pages that so many tokens need.
    pub(crate) fn pages_for(tokens: usize) -> usize {
        tokens.div_ceil(PAGE)
    }

    /// Tokens that so many pages hold.
    pub(crate) fn tokens_of(pages: usize) -> usize {
        pages * PAGE
    }

    /// Tokens that all pages together hold.
    pub(crate) fn tokens(&self) -> usize {
        self.pages * PAGE
    }

    /// Pages that nobody has.
    pub(crate) fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// Takes a page, if one is free.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        let page = self.free.pop()?;
        self.holders[page.0 as usize] = 1;
        Some(page)
    }

    /// Holds a page that somebody holds already.
    pub(crate) fn hold(&mut self, page: PageId) {
        let holders = &mut self.holders[page.0 as usize];
        assert!(*holders > 0, "a free page belongs to nobody");
        *holders += 1;
    }

    /// How many hold a page.
    pub(crate) fn holders(&self, page: PageId) -> u32 {
        self.holders[page.0 as usize]
    }

    /// Gives pages back. Those that nobody holds any more become empty and free.
    pub(crate) fn give(&mut self, pages: impl IntoIterator<Item = PageId>) {
        for page in pages {
            let holders = &mut self.holders[page.0 as usize];
            *holders -= 1;
            if *holders == 0 {
                match &mut self.to_empty {
                    Some(elsewhere) => elsewhere.push(page),
                    None => {
                        let start = page.0 as usize * self.page_length;
                        self.slab[start..start + self.page_length].fill(0);
                    }
                }
                self.free.push(page);
            }
        }
    }

    /// Keys and values of a page, of one layer and head.
    pub(crate) fn view(&self, page: PageId, layer: usize, head: usize) -> PageView<'_> {
        let half = self.head_length / 2;
        let both = &self.slab[self.start(page, layer, head)..][..self.head_length];
        PageView {
            keys: &both[..half],
            values: &both[half..],
        }
    }

    /// Writes the keys and values of a layer: rows of `kv_heads * head_width` values each.
    pub(crate) fn append(
        &mut self,
        pool: &mut Pool,
        layer: usize,
        segments: &[Segment],
        keys: &[f32],
        values: &[f32],
    ) {
        let (heads, width) = (self.kv_heads, self.head_width);
        let slab = Disjoint(self.slab.as_mut_ptr());
        let this = &*self;
        pool.run(segments.len() * heads, &|item| {
            let (segment, head) = (&segments[item / heads], item % heads);
            for row in 0..segment.rows {
                let position = segment.position + row;
                let page = segment.pages[position / PAGE];
                let from = ((segment.first_row + row) * heads + head) * width;
                let mut both = [f16::ZERO; 2 * MAX_HEAD_WIDTH];
                both[..width].convert_from_f32_slice(&keys[from..from + width]);
                both[width..2 * width].convert_from_f32_slice(&values[from..from + width]);
                let start = this.start(page, layer, head);
                // SAFETY: a page that is not full belongs to one sequence, a sequence is in one segment, and an item is one head of it;
                // the slab is borrowed for the whole round.
                let part = unsafe { slab.range(start, this.head_length) };
                let (page_keys, page_values) = part.split_at_mut(width * PAGE);
                let slot = position % PAGE;
                for (d, key) in both[..width].iter().enumerate() {
                    page_keys[d * PAGE + slot] = key.to_bits();
                }
                for (value, new) in page_values[slot * width..]
                    .iter_mut()
                    .zip(&both[width..2 * width])
                {
                    *value = new.to_bits();
                }
            }
        });
    }

    fn start(&self, page: PageId, layer: usize, head: usize) -> usize {
        page.0 as usize * self.page_length + (layer * self.kv_heads + head) * self.head_length
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cache of a few pages of one layer and one narrow head.
    pub(crate) fn small(pages: usize) -> Cache {
        let (head_width, head_length) = (16, 2 * 16 * PAGE);
        Cache {
            slab: vec![0; pages * head_length],
            to_empty: None,
            free: (0..pages as u32).map(PageId).collect(),
            holders: vec![0; pages],
            pages,
            kv_heads: 1,
            head_width,
            page_length: head_length,
            head_length,
        }
    }

    impl Cache {
        pub(crate) fn scribble(&mut self, page: PageId) {
            let start = self.start(page, 0, 0);
            self.slab[start] = 7;
        }

        pub(crate) fn is_empty(&self, page: PageId) -> bool {
            let start = self.start(page, 0, 0);
            let both = &self.slab[start..][..self.page_length];
            both.iter().all(|value| *value == 0)
        }
    }

    #[test]
    fn a_page_is_emptied_by_its_last_holder() {
        let mut cache = small(1);
        let page = cache.take().expect("one");
        cache.hold(page);
        cache.scribble(page);
        cache.give([page]);
        assert!(!cache.is_empty(page) && cache.take().is_none());
        cache.give([page]);
        assert!(cache.is_empty(page) && cache.take().is_some());
    }
}
