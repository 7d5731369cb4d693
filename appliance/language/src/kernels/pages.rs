//! Keys and values of all sequences, in pages of one slab that never grows.
//!
//! They are sixteen-bit floats, or eight-bit whole numbers with a scale for every [`BLOCK`] of a position. Of a page, one layer
//! and head:
//!
//! ```text
//! f16: keys [d][position], then values [position][d]
//! q8:  bytes of keys [d][position], scales of keys [block][position], bytes of values [position][d], scales of values
//!      [position][block]; scales are sixteen-bit floats
//! ```
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
use pericard_domain::device::KvForm;

/// Values of a position that share a scale where they are kept in eight bits; a head's last may be fewer.
pub(crate) const BLOCK: usize = 32;

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
    form: KvForm,
    kv_heads: usize,
    head_width: usize,
    /// Words of sixteen bits in a page, and of one layer and head in it; half of these are its keys.
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
    pub(crate) fn new(shape: &Architecture, bytes_max: usize, form: KvForm) -> Self {
        let mut cache = Self::sized(shape, bytes_max, form);
        cache.slab = vec![0; cache.pages * cache.page_length];
        cache
    }

    /// Without the memory.
    fn sized(shape: &Architecture, bytes_max: usize, form: KvForm) -> Self {
        let head_length = head_length(shape.head_width, form);
        let page_length = shape.layers * shape.kv_heads * head_length;
        let pages = (bytes_max / 2 / page_length).min(u32::MAX as usize);
        Self {
            slab: Vec::new(),
            to_empty: None,
            free: (0..pages as u32).rev().map(PageId).collect(),
            holders: vec![0; pages],
            pages,
            form,
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
            ..Self::sized(shape, bytes_max, KvForm::F16)
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

    /// How keys and values are kept.
    pub(crate) fn form(&self) -> KvForm {
        self.form
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
        debug_assert!(self.is_empty(page), "nothing is left of whoever had it");
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

    /// Whether nothing of a page's last holder is left, as far as the pages lie here.
    pub(crate) fn is_empty(&self, page: PageId) -> bool {
        let start = page.0 as usize * self.page_length;
        let page = self.slab.get(start..start + self.page_length);
        page.is_none_or(|page| page.iter().all(|value| *value == 0))
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
                let start = this.start(page, layer, head);
                // SAFETY: a page that is not full belongs to one sequence, a sequence is in one segment, and an item is one head of it;
                // the slab is borrowed for the whole round.
                let part = unsafe { slab.range(start, this.head_length) };
                let put = match this.form {
                    KvForm::F16 => put_floats,
                    KvForm::Q8 => put_bytes,
                };
                let (keys, values) = (&keys[from..from + width], &values[from..from + width]);
                put(part, position % PAGE, keys, values);
            }
        });
    }

    fn start(&self, page: PageId, layer: usize, head: usize) -> usize {
        page.0 as usize * self.page_length + (layer * self.kv_heads + head) * self.head_length
    }
}

/// Words of one layer and head in a page.
fn head_length(width: usize, form: KvForm) -> usize {
    match form {
        KvForm::F16 => 2 * width * PAGE,
        KvForm::Q8 => width * PAGE + 2 * width.div_ceil(BLOCK) * PAGE,
    }
}

/// Writes one position of one layer and head.
fn put_floats(part: &mut [u16], slot: usize, keys: &[f32], values: &[f32]) {
    let width = keys.len();
    let mut both = [f16::ZERO; 2 * MAX_HEAD_WIDTH];
    both[..width].convert_from_f32_slice(keys);
    both[width..2 * width].convert_from_f32_slice(values);
    let (page_keys, page_values) = part.split_at_mut(width * PAGE);
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

/// As [`put_floats`], in eight bits.
fn put_bytes(part: &mut [u16], slot: usize, keys: &[f32], values: &[f32]) {
    let (width, blocks) = (keys.len(), keys.len().div_ceil(BLOCK));
    let (page_keys, page_values) = part.split_at_mut(part.len() / 2);
    let (bytes, scales) = page_keys.split_at_mut(width * PAGE / 2);
    for (block, keys) in keys.chunks(BLOCK).enumerate() {
        let (scale, inverse) = scale_of(keys);
        scales[block * PAGE + slot] = scale.to_bits();
        let bytes = &mut bytes_of_mut(bytes)[block * BLOCK * PAGE..];
        for (d, key) in keys.iter().enumerate() {
            bytes[d * PAGE + slot] = step_of(*key, inverse);
        }
    }
    let (bytes, scales) = page_values.split_at_mut(width * PAGE / 2);
    let row = &mut bytes_of_mut(bytes)[slot * width..][..width];
    for (block, (values, row)) in values.chunks(BLOCK).zip(row.chunks_mut(BLOCK)).enumerate() {
        let (scale, inverse) = scale_of(values);
        scales[slot * blocks + block] = scale.to_bits();
        for (byte, value) in row.iter_mut().zip(values) {
            *byte = step_of(*value, inverse);
        }
    }
}

/// What one step of a block is worth, and what makes steps of its values.
fn scale_of(values: &[f32]) -> (f16, f32) {
    let largest = values.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    let scale = f16::from_f32(largest / 127.0).min(f16::MAX);
    let worth = scale.to_f32();
    (scale, if worth == 0.0 { 0.0 } else { 1.0 / worth })
}

/// A value as a signed byte. The scale was rounded, so the largest may be a little more than 127 of it.
fn step_of(value: f32, inverse: f32) -> u8 {
    (value * inverse).round().clamp(-127.0, 127.0) as i8 as u8
}

/// Words as the bytes that they hold.
pub(crate) fn bytes_of(words: &[u16]) -> &[u8] {
    // SAFETY: twice as many bytes, of which each is valid.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), 2 * words.len()) }
}

fn bytes_of_mut(words: &mut [u16]) -> &mut [u8] {
    // SAFETY: as above, and any two bytes are a valid word.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 2 * words.len()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A cache of a few pages of one layer and one narrow head.
    pub(crate) fn small(pages: usize) -> Cache {
        with_head(pages, 16, KvForm::F16)
    }

    /// A cache of a few pages of one layer and one head.
    pub(crate) fn with_head(pages: usize, head_width: usize, form: KvForm) -> Cache {
        let head_length = head_length(head_width, form);
        Cache {
            slab: vec![0; pages * head_length],
            to_empty: None,
            free: (0..pages as u32).map(PageId).collect(),
            holders: vec![0; pages],
            pages,
            form,
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

    #[test]
    fn in_eight_bits_a_position_takes_little_more_than_half() {
        for width in [16, 32, 64, 80, 96, 128, 256] {
            let of = |form| with_head(1, width, form).page_length;
            let (floats, bytes) = (of(KvForm::F16), of(KvForm::Q8));
            assert!(bytes > floats / 2, "{width}");
            // A scale of two bytes for at most 32 values.
            assert_eq!(bytes - floats / 2, 2 * width.div_ceil(BLOCK) * PAGE);
        }
    }

    #[test]
    fn eight_bits_are_emptied_too_and_come_back_near() {
        let mut cache = with_head(1, 80, KvForm::Q8);
        let page = cache.take().expect("one");
        let keys: Vec<f32> = (0..80).map(|d| (d as f32 - 40.0) / 7.0).collect();
        let values: Vec<f32> = keys.iter().map(|key| key * -1e-3).collect();
        let segment = Segment {
            first_row: 0,
            rows: 1,
            position: 5,
            pages: vec![page],
        };
        let mut pool = Pool::new(1).expect("no threads");
        cache.append(&mut pool, 0, &[segment], &keys, &values);
        let view = cache.view(page, 0, 0);
        let float = |bits: u16| f16::from_bits(bits).to_f32();
        let (bytes, scales) = view.keys.split_at(80 * PAGE / 2);
        for (d, key) in keys.iter().enumerate() {
            let byte = bytes_of(bytes)[d * PAGE + 5] as i8;
            let back = f32::from(byte) * float(scales[d / BLOCK * PAGE + 5]);
            assert!((back - key).abs() < 0.03, "{back} and not {key}");
        }
        let (bytes, scales) = view.values.split_at(80 * PAGE / 2);
        for (d, value) in values.iter().enumerate() {
            let byte = bytes_of(bytes)[5 * 80 + d] as i8;
            let back = f32::from(byte) * float(scales[5 * 3 + d / BLOCK]);
            assert!((back - value).abs() < 3e-5, "{back} and not {value}");
        }
        assert!(!cache.is_empty(page));
        cache.give([page]);
        assert!(cache.is_empty(page));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "nothing is left of whoever had it")]
    fn a_page_that_was_not_emptied_is_found_out() {
        let mut cache = small(1);
        cache.scribble(PageId(0));
        let _ = cache.take();
    }
}
