//! The text of a script as it was read, and how people refer to it.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::watch::LookedAt;

/// Longer names are not looked for: a script can make them of any length, and writes none out.
const NAME_BYTES_MAX: usize = 200;

/// One version of the script's text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as it was configured; what errors and logs say.
    pub path: String,
    pub text: String,
    /// SHA-256 of this text, in hex.
    hash: String,
    /// The modules that it has required, as they were read; shared by its clones. A load that
    /// succeeds seals them: loading a clone again then reads nothing from disk.
    pub modules: ModuleSources,
}

/// What was read besides the script itself.
#[derive(Clone, Debug, Default)]
pub struct ModuleSources(Arc<Mutex<Required>>);

#[derive(Debug, Default)]
struct Required {
    /// Each module by its file behind all links, in the order in which they were read.
    sources: Vec<(PathBuf, Arc<Source>)>,
    /// The file behind all links for each that was required.
    files: HashMap<PathBuf, PathBuf>,
    looked_at: Vec<LookedAt>,
    sealed: bool,
}

impl ModuleSources {
    pub fn add(&self, found: &Path, source: Source) -> Arc<Source> {
        let source = Arc::new(source);
        self.lock().sources.push((found.to_owned(), Arc::clone(&source)));
        source
    }

    /// The module in this file, if it was read before.
    pub fn read_before(&self, found: &Path) -> Option<Arc<Source>> {
        let required = self.lock();
        let known = required.sources.iter().find(|(file, _)| file == found);
        known.map(|(_, source)| Arc::clone(source))
    }

    /// Which file is behind this one.
    pub fn add_file(&self, file: &Path, found: &Path) {
        self.lock().files.insert(file.to_owned(), found.to_owned());
    }

    /// Which file was behind this one when it was required.
    pub fn file(&self, file: &Path) -> Option<PathBuf> {
        self.lock().files.get(file).cloned()
    }

    /// From here on the modules are those that are held here: what runs is what the hash says,
    /// however often it is started anew.
    pub fn seal(&self) {
        self.lock().sealed = true;
    }

    pub fn is_sealed(&self) -> bool {
        self.lock().sealed
    }

    pub fn note(&self, file: &Path, bytes: Option<Vec<u8>>) {
        self.lock().looked_at.push((file.to_owned(), bytes));
    }

    /// Adds what a load of the same text aside has looked at.
    pub fn note_all(&self, aside: &ModuleSources) {
        let noted = aside.looked_at();
        let mut required = self.lock();
        for (path, bytes) in noted {
            if required.looked_at.iter().all(|(known, _)| *known != path) {
                required.looked_at.push((path, bytes));
            }
        }
    }

    pub fn all(&self) -> Vec<Arc<Source>> {
        self.lock().sources.iter().map(|(_, source)| Arc::clone(source)).collect()
    }

    pub fn looked_at(&self) -> Vec<LookedAt> {
        self.lock().looked_at.clone()
    }

    /// Whatever panicked while it held the lock has left whole entries.
    fn lock(&self) -> MutexGuard<'_, Required> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let hash = sha256(&text);
        Source { path: path.into(), text, hash, modules: ModuleSources::default() }
    }

    /// The same text, before a load: it has required nothing yet.
    pub fn fresh(&self) -> Source {
        Source { modules: ModuleSources::default(), ..self.clone() }
    }

    /// SHA-256 in hex: of the text, or of the hashes of all texts where it has modules.
    pub fn hash(&self) -> String {
        let modules = self.modules.all();
        match modules.is_empty() {
            true => self.hash.clone(),
            false => {
                let hashes =
                    modules.iter().map(|module| format!("{} {}\n", module.hash, module.path));
                sha256(&format!("{}\n{}", self.hash, hashes.collect::<String>()))
            }
        }
    }

    /// The first six digits of the hash: enough to tell versions apart in a log.
    pub fn short_hash(&self) -> String {
        let mut hash = self.hash();
        hash.truncate(6);
        hash
    }

    /// The text of a line; the first line is 1.
    pub fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?)
    }

    /// The first line on which a name stands as a word of its own.
    pub fn line_of(&self, name: &str) -> Option<usize> {
        let at = find_word(&self.text, name)?;
        Some(self.text[..at].matches('\n').count() + 1)
    }
}

/// Whether a name stands on a line as a word of its own.
pub fn has_word(line: &str, name: &str) -> bool {
    find_word(line, name).is_some()
}

/// Where a name stands in a text as a word of its own. One search for all of it: to begin one takes as
/// long as the name is.
fn find_word(text: &str, name: &str) -> Option<usize> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = text.match_indices(name).map(|(at, _)| at);
    found
        .find(|at| !text[..*at].ends_with(is_word) && !text[at + name.len()..].starts_with(is_word))
}

fn sha256(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let mut hash = String::with_capacity(64);
    for byte in digest.as_ref() {
        // Writing to a String does not fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_text() {
        assert_eq!(Source::new("a", "").short_hash(), "e3b0c4");
        assert_ne!(Source::new("a", "x").hash, Source::new("a", "y").hash);
    }

    #[test]
    fn names_are_found_as_whole_words() {
        let source = Source::new("a", "local fooo = 1\nxfoo = 2\nfoo = 3\n");
        assert_eq!(source.line_of("foo"), Some(3));
        assert_eq!(source.line_of("bar"), None);
        let long = "x".repeat(NAME_BYTES_MAX);
        let source = Source::new("a", format!("\n{long}\n{long}y\n"));
        assert_eq!(source.line_of(&long), Some(2));
        assert_eq!(source.line_of(&format!("{long}y")), None, "nobody looks for it");
        let source = Source::new("a", "local fooo = 1\nxfoo = 2\nfoo = 3\n");
        assert_eq!(source.line(3), Some("foo = 3"));
        assert_eq!(source.line(0), None);
    }
}
