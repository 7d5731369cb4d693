//! Object files on their way in and on their way out: never the same file at once. A file's name follows from what is in
//! it, so an object that was removed may come again, to the same place, while the removal is still under way; without
//! this the removal could take a file that was just promised to be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The files under way. Each entry lives as long as its guard.
#[derive(Debug, Default)]
pub(crate) struct Traffic(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    /// By how many changes at once: the same object may come over two associations.
    coming: BTreeMap<PathBuf, u32>,
    going: BTreeSet<PathBuf>,
}

/// Files that are being put in place, until the change that speaks of them has been answered.
#[derive(Debug)]
pub(crate) struct Coming {
    traffic: Arc<Traffic>,
    files: Vec<PathBuf>,
}

/// Files that are about to be removed or set aside, and that nobody puts in place meanwhile.
#[derive(Debug)]
pub(crate) struct Going {
    traffic: Arc<Traffic>,
    files: Vec<PathBuf>,
}

impl Traffic {
    /// Lets the files come; `None` while one of them is going.
    pub(crate) fn come(self: &Arc<Self>, files: Vec<PathBuf>) -> Option<Coming> {
        let mut under_way = self.under_way();
        if files.iter().any(|file| under_way.going.contains(file)) {
            return None;
        }
        for file in &files {
            *under_way.coming.entry(file.clone()).or_default() += 1;
        }
        let traffic = Arc::clone(self);
        Some(Coming { traffic, files })
    }

    /// Lets go those of the files that are not coming and not going already. Whoever lets them go must then look once
    /// more whether they still may: a change that has just been answered may have kept one.
    pub(crate) fn go(self: &Arc<Self>, files: impl IntoIterator<Item = PathBuf>) -> Going {
        let mut under_way = self.under_way();
        let UnderWay { coming, going } = &mut *under_way;
        let free = |file: &PathBuf| !coming.contains_key(file) && going.insert(file.clone());
        let files = files.into_iter().filter(free).collect();
        let traffic = Arc::clone(self);
        Going { traffic, files }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        // Held for a few insertions; a panic in between leaves whole maps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Going {
    pub(crate) fn has(&self, file: &Path) -> bool {
        self.files.iter().any(|of| of == file)
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut under_way = self.traffic.under_way();
        for file in &self.files {
            if let Some(count) = under_way.coming.get_mut(file) {
                *count -= 1;
                if *count == 0 {
                    under_way.coming.remove(file);
                }
            }
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let mut under_way = self.traffic.under_way();
        for file in &self.files {
            under_way.going.remove(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_never_comes_and_goes_at_once() {
        let traffic = Arc::new(Traffic::default());
        let file = || vec![PathBuf::from("20260101/a.dcm")];
        let (first, second) = (traffic.come(file()), traffic.come(file()));
        assert!(
            first.is_some() && second.is_some(),
            "the same object over two associations"
        );
        drop(first);
        assert!(
            !traffic.go(file()).has(&file()[0]),
            "the second is still coming"
        );
        drop(second);
        let going = traffic.go(file());
        assert!(going.has(&file()[0]));
        assert!(!traffic.go(file()).has(&file()[0]), "once is enough");
        assert!(traffic.come(file()).is_none());
        drop(going);
        assert!(traffic.come(file()).is_some());
    }
}
