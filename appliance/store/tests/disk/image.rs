//! A simulated disk: what may be on it when the power goes, by what was asked of it until then.
//!
//! The rules are those that POSIX gives, which are harsher than any file system that is in use: of what was not synced,
//! anything may be there or not, in any order, torn at sectors of 512 bytes; a name is not on disk before its directory
//! was synced, even when the file was. Two mercies, which every journaling file system grants: a rename is not half done
//! in the sense that the old name goes and the new one never comes, and a sector that was not written keeps its bytes.

use crate::Dice;
use crate::record::{Act, Made};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const SECTOR_BYTES: usize = 512;

/// What a disk holds for certain, and what was asked of it since.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    files: Vec<Content>,
    /// Which file has that number now. Numbers are given again when a file is gone, and the dead may rise.
    numbers: HashMap<u64, usize>,
    dirs: BTreeMap<PathBuf, Dir>,
    renames: u32,
    asked: u64,
}

#[derive(Debug, Clone, Default)]
struct Content {
    certain: Vec<u8>,
    asked: Vec<(u64, Change)>,
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate { len: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir,
}

#[derive(Debug, Clone, Default)]
struct Dir {
    /// As programs see it.
    seen: BTreeMap<OsString, Node>,
    certain: BTreeMap<OsString, Node>,
    asked: Vec<(u64, Entry)>,
}

#[derive(Debug, Clone)]
struct Entry {
    name: OsString,
    /// What the name stands for from now on; `None` removes it.
    node: Option<Node>,
    /// The two entries of one rename have one number.
    rename: Option<u32>,
}

/// How the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nothing survives that was not synced.
    LosesAll,
    /// Everything does.
    LosesNothing,
    /// What was asked first, up to some moment.
    InOrder,
    /// Anything, in any order, torn.
    Anyhow,
}

impl Manner {
    pub(crate) fn thrown(dice: &mut Dice) -> Self {
        match dice.below(6) {
            0 => Self::LosesAll,
            1 => Self::LosesNothing,
            2 => Self::InOrder,
            _ => Self::Anyhow,
        }
    }
}

impl Image {
    /// A disk that holds that directory for certain.
    pub(crate) fn of(dir: &Path) -> Self {
        let mut image = Self::default();
        image.take_up(dir, Path::new(""));
        image
    }

    fn take_up(&mut self, dir: &Path, below: &Path) {
        let mut entries = BTreeMap::new();
        for item in std::fs::read_dir(dir).expect("a directory") {
            let item = item.expect("an entry");
            let (path, meta) = (item.path(), item.metadata().expect("its metadata"));
            let node = if meta.is_dir() {
                self.take_up(&path, &below.join(item.file_name()));
                Node::Dir
            } else {
                let id = self.new_file(meta.ino());
                self.files[id].certain = std::fs::read(&path).expect("a file");
                Node::File(id)
            };
            entries.insert(item.file_name(), node);
        }
        let dir = Dir {
            seen: entries.clone(),
            certain: entries,
            asked: Vec::new(),
        };
        self.dirs.insert(below.to_owned(), dir);
    }

    /// Takes note of a call.
    pub(crate) fn apply(&mut self, made: &Made) {
        self.asked += 1;
        match &made.act {
            Act::Create => self.create(made),
            Act::Write { at, bytes } => {
                let at = usize::try_from(*at).expect("a place in memory");
                self.change(
                    made.ino,
                    Change::Write {
                        at,
                        bytes: bytes.clone(),
                    },
                );
            }
            Act::Truncate { len } => {
                let len = usize::try_from(*len).expect("a length in memory");
                self.change(made.ino, Change::Truncate { len });
            }
            Act::Sync => {
                if let Some(&id) = self.numbers.get(&made.ino) {
                    self.files[id].settle();
                }
            }
            Act::SyncFailed => {
                if let Some(&id) = self.numbers.get(&made.ino) {
                    self.files[id].asked.clear();
                }
            }
            Act::SyncDir => self.sync_dir(&made.path),
            Act::SyncDirFailed => {
                if let Some(dir) = self.dirs.get_mut(&made.path) {
                    dir.asked.clear();
                }
            }
            Act::Rename { to } => self.rename(&made.path, to),
            Act::Unlink => self.enter(&made.path, None, None),
            Act::MakeDir => {
                self.dirs.insert(made.path.clone(), Dir::default());
                self.enter(&made.path, Some(Node::Dir), None);
            }
        }
    }

    fn create(&mut self, made: &Made) {
        match self.seen(&made.path) {
            // It was there, and was made empty.
            Some(Node::File(_)) => self.change(made.ino, Change::Truncate { len: 0 }),
            _ => {
                let id = self.new_file(made.ino);
                self.enter(&made.path, Some(Node::File(id)), None);
            }
        }
    }

    fn new_file(&mut self, ino: u64) -> usize {
        self.files.push(Content::default());
        self.numbers.insert(ino, self.files.len() - 1);
        self.files.len() - 1
    }

    fn change(&mut self, ino: u64, change: Change) {
        if let Some(&id) = self.numbers.get(&ino) {
            self.files[id].asked.push((self.asked, change));
        }
    }

    fn rename(&mut self, from: &Path, to: &Path) {
        let node = self.seen(from);
        self.renames += 1;
        // The new name first, and then the old one goes: the order in which they may come to be on disk.
        self.enter(to, node, Some(self.renames));
        self.enter(from, None, Some(self.renames));
    }

    fn seen(&self, path: &Path) -> Option<Node> {
        let dir = self.dirs.get(path.parent()?)?;
        dir.seen.get(path.file_name()?).copied()
    }

    fn enter(&mut self, path: &Path, node: Option<Node>, rename: Option<u32>) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return; // the root itself
        };
        let Some(dir) = self.dirs.get_mut(parent) else {
            return;
        };
        let entry = Entry {
            name: name.to_owned(),
            node,
            rename,
        };
        entry.put(&mut dir.seen);
        dir.asked.push((self.asked, entry));
    }

    fn sync_dir(&mut self, path: &Path) {
        let Some(dir) = self.dirs.get_mut(path) else {
            return;
        };
        let mut gone = Vec::new();
        for (_, entry) in std::mem::take(&mut dir.asked) {
            entry.put(&mut dir.certain);
            gone.extend(entry.rename.filter(|_| entry.node.is_none()));
        }
        for rename in gone {
            self.settle_rename(rename);
        }
    }

    /// The old name is gone for good, so the new one is there.
    fn settle_rename(&mut self, rename: u32) {
        for dir in self.dirs.values_mut() {
            let Dir { certain, asked, .. } = dir;
            asked.retain(|(_, entry)| {
                let is_it = entry.rename == Some(rename) && entry.node.is_some();
                if is_it {
                    entry.put(certain);
                }
                !is_it
            });
        }
    }

    /// Writes into that directory what is found when the power comes back.
    pub(crate) fn crash(&self, manner: Manner, dice: &mut Dice, into: &Path) {
        let until = dice.below(self.asked + 1);
        let survives = |at: u64, dice: &mut Dice| match manner {
            Manner::LosesAll => false,
            Manner::LosesNothing => true,
            Manner::InOrder => at <= until,
            Manner::Anyhow => dice.is_heads(),
        };
        let mut names = BTreeMap::new();
        let mut came = Vec::new();
        // New names are decided on before old ones go, in whichever directories they are.
        for (path, dir) in &self.dirs {
            let mut kept = dir.certain.clone();
            for (at, entry) in dir.asked.iter().filter(|(_, entry)| entry.node.is_some()) {
                if survives(*at, dice) {
                    entry.put(&mut kept);
                    came.extend(entry.rename);
                }
            }
            names.insert(path, kept);
        }
        for (path, dir) in &self.dirs {
            let kept = names.get_mut(path).expect("entered above");
            for (at, entry) in dir.asked.iter().filter(|(_, entry)| entry.node.is_none()) {
                let may_go = entry.rename.is_none_or(|rename| came.contains(&rename));
                // A name that was given to another file since stays with that one.
                let is_renamed = dir.seen.contains_key(&entry.name);
                if may_go && !is_renamed && survives(*at, dice) {
                    kept.remove(&entry.name);
                }
            }
        }
        let names = names
            .into_iter()
            .map(|(path, kept)| (path.clone(), kept))
            .collect();
        self.write(
            &names,
            Path::new(""),
            into,
            &mut |file, dice| file.torn(manner, until, dice),
            dice,
        );
    }

    fn write(
        &self,
        names: &BTreeMap<PathBuf, BTreeMap<OsString, Node>>,
        below: &Path,
        into: &Path,
        bytes: &mut dyn FnMut(&Content, &mut Dice) -> Vec<u8>,
        dice: &mut Dice,
    ) {
        for (name, node) in names.get(below).into_iter().flatten() {
            let path = into.join(below).join(name);
            match node {
                Node::Dir => {
                    std::fs::create_dir(&path).expect("a directory");
                    self.write(names, &below.join(name), into, bytes, dice);
                }
                Node::File(id) => {
                    // SQLite makes its index of the log anew after a crash; what was in the old one counts for nothing.
                    if !name.as_encoded_bytes().ends_with(b"-shm") {
                        std::fs::write(&path, bytes(&self.files[*id], dice)).expect("a file");
                    }
                }
            }
        }
    }
}

impl Entry {
    fn put(&self, names: &mut BTreeMap<OsString, Node>) {
        match self.node {
            Some(node) => names.insert(self.name.clone(), node),
            None => names.remove(&self.name),
        };
    }
}

impl Content {
    /// All that was asked is on disk.
    fn settle(&mut self) {
        for (_, change) in std::mem::take(&mut self.asked) {
            change.put(&mut self.certain, |_| true);
        }
    }

    fn torn(&self, manner: Manner, until: u64, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.certain.clone();
        for (at, change) in &self.asked {
            match manner {
                Manner::LosesAll => {}
                Manner::LosesNothing => change.put(&mut bytes, |_| true),
                // The latest that survives may be torn.
                Manner::InOrder if at == &until => change.put(&mut bytes, |_| dice.is_heads()),
                Manner::InOrder if *at < until => change.put(&mut bytes, |_| true),
                Manner::InOrder => {}
                Manner::Anyhow => match dice.below(3) {
                    0 => {}
                    1 => change.put(&mut bytes, |_| true),
                    _ => change.put(&mut bytes, |_| dice.is_heads()),
                },
            }
        }
        bytes
    }
}

impl Change {
    /// Makes the change, sector by sector as it is allowed.
    fn put(&self, bytes: &mut Vec<u8>, mut is_allowed: impl FnMut(usize) -> bool) {
        match self {
            Self::Truncate { len } => {
                if is_allowed(0) {
                    bytes.resize(*len, 0);
                }
            }
            Self::Write { at, bytes: new } => {
                let mut done = 0;
                while done < new.len() {
                    let place = at + done;
                    let end = new.len().min(done + SECTOR_BYTES - place % SECTOR_BYTES);
                    if is_allowed(place / SECTOR_BYTES) {
                        if bytes.len() < at + end {
                            bytes.resize(at + end, 0);
                        }
                        bytes[place..at + end].copy_from_slice(&new[done..end]);
                    }
                    done = end;
                }
            }
        }
    }
}
