//! The names in one directory: what is synced, what is seen, and the changes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use super::content::Content;
use super::random::Random;
use super::{CrashMode, lock};

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Node {
    File(Arc<Mutex<Content>>),
    Directory(Arc<Mutex<Directory>>),
}

impl Node {
    pub(super) fn file(&self) -> io::Result<&Arc<Mutex<Content>>> {
        match self {
            Self::File(content) => Ok(content),
            Self::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn directory(&self) -> io::Result<&Arc<Mutex<Directory>>> {
        match self {
            Self::File(_) => Err(io::ErrorKind::NotADirectory.into()),
            Self::Directory(directory) => Ok(directory),
        }
    }

    /// Tells nodes apart, whatever their names, while they are alive.
    pub(super) fn identity(&self) -> usize {
        match self {
            Self::File(content) => Arc::as_ptr(content).addr(),
            Self::Directory(directory) => Arc::as_ptr(directory).addr(),
        }
    }
}

#[derive(Default)]
pub(super) struct Directory {
    names: BTreeMap<String, Node>,
    synced: BTreeMap<String, Node>,
    /// What was done since the last sync, oldest first.
    changes: Vec<Change>,
}

/// One step that happens whole or not at all: a name goes, then a name comes.
struct Change {
    /// A move between directories has the same number in both.
    number: u64,
    remove: Option<String>,
    insert: Option<(String, Node)>,
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.names.get(name)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    pub(super) fn check_empty(&self) -> io::Result<()> {
        if self.names.is_empty() { Ok(()) } else { Err(io::ErrorKind::DirectoryNotEmpty.into()) }
    }

    pub(super) fn insert(&mut self, number: u64, name: &str, node: Node) {
        self.apply(Change { number, remove: None, insert: Some((name.to_owned(), node)) });
    }

    pub(super) fn remove(&mut self, number: u64, name: &str) {
        self.apply(Change { number, remove: Some(name.to_owned()), insert: None });
    }

    pub(super) fn rename(&mut self, number: u64, from: &str, to: &str, node: Node) {
        let insert = Some((to.to_owned(), node));
        self.apply(Change { number, remove: Some(from.to_owned()), insert });
    }

    fn apply(&mut self, change: Change) {
        change.apply_to(&mut self.names);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.synced.clone_from(&self.names);
        self.changes.clear();
    }
}

impl Change {
    fn apply_to(&self, names: &mut BTreeMap<String, Node>) {
        if let Some(name) = &self.remove {
            names.remove(name);
        }
        if let Some((name, node)) = &self.insert {
            names.insert(name.clone(), node.clone());
        }
    }
}

/// Returns the tree under `root` as a crash leaves it.
pub(super) fn after_crash(root: &Arc<Mutex<Directory>>, mode: CrashMode) -> Directory {
    let seed = match mode {
        CrashMode::KeepSynced | CrashMode::KeepAll => 0,
        CrashMode::Subset { seed } => seed,
    };
    let mut random = Random::new(seed);
    let mut survivors = Survivors::choose(root, mode, &mut random);
    survivors.keep_moved_files();
    let mut copy = Copy { survivors, mode, random, made: BTreeMap::new() };
    copy.directory(root)
}

/// Which changes of each directory survive: a prefix.
struct Survivors {
    /// In the order of a walk, so that choices do not depend on addresses.
    directories: Vec<Arc<Mutex<Directory>>>,
    kept: BTreeMap<usize, usize>,
}

impl Survivors {
    fn choose(root: &Arc<Mutex<Directory>>, mode: CrashMode, random: &mut Random) -> Self {
        let mut found = Self { directories: vec![Arc::clone(root)], kept: BTreeMap::new() };
        let mut seen = BTreeSet::from([Arc::as_ptr(root).addr()]);
        let mut next = 0;
        while next < found.directories.len() {
            let current = Arc::clone(&found.directories[next]);
            let directory = lock(&current);
            let kept = match mode {
                CrashMode::KeepSynced => 0,
                CrashMode::KeepAll => directory.changes.len(),
                CrashMode::Subset { .. } => random.up_to(directory.changes.len()),
            };
            found.kept.insert(Arc::as_ptr(&current).addr(), kept);
            let inserted = directory.changes.iter().filter_map(|change| change.insert.as_ref());
            let inserted = inserted.map(|(_, node)| node);
            for node in directory.synced.values().chain(inserted) {
                if let Node::Directory(child) = node
                    && seen.insert(node.identity())
                {
                    found.directories.push(Arc::clone(child));
                }
            }
            next += 1;
        }
        found
    }

    /// Takes back removals whose other half, the insertion elsewhere, was lost. Taking one back
    /// takes back later changes of that directory, so this repeats until nothing changes.
    fn keep_moved_files(&mut self) {
        loop {
            let mut lost = BTreeSet::new();
            for directory in &self.directories {
                let kept = self.kept_of(directory);
                let changes = &lock(directory).changes;
                let dropped = changes[kept..].iter().filter(|change| change.insert.is_some());
                lost.extend(dropped.map(|change| change.number));
            }
            let mut changed = false;
            for directory in &self.directories {
                let kept = self.kept_of(directory);
                let changes = &lock(directory).changes;
                let wrong = changes[..kept].iter().position(|change| lost.contains(&change.number));
                if let Some(position) = wrong {
                    self.kept.insert(Arc::as_ptr(directory).addr(), position);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    fn kept_of(&self, directory: &Arc<Mutex<Directory>>) -> usize {
        self.kept.get(&Arc::as_ptr(directory).addr()).copied().unwrap_or(0)
    }
}

struct Copy {
    survivors: Survivors,
    mode: CrashMode,
    random: Random,
    /// Copies by the identity of their original, for nodes with two names.
    made: BTreeMap<usize, Node>,
}

impl Copy {
    fn directory(&mut self, original: &Arc<Mutex<Directory>>) -> Directory {
        let kept = self.survivors.kept_of(original);
        let names = {
            let original = lock(original);
            let mut names = original.synced.clone();
            for change in &original.changes[..kept] {
                change.apply_to(&mut names);
            }
            names
        };
        let mut copied = BTreeMap::new();
        for (name, node) in names {
            copied.insert(name, self.node(&node));
        }
        Directory { synced: copied.clone(), names: copied, changes: Vec::new() }
    }

    fn node(&mut self, original: &Node) -> Node {
        if let Some(node) = self.made.get(&original.identity()) {
            return node.clone();
        }
        let node = match original {
            Node::File(content) => {
                let content = lock(content).after_crash(self.mode, &mut self.random);
                Node::File(Arc::new(Mutex::new(content)))
            }
            Node::Directory(directory) => {
                Node::Directory(Arc::new(Mutex::new(self.directory(directory))))
            }
        };
        self.made.insert(original.identity(), node.clone());
        node
    }
}
