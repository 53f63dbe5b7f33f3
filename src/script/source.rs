//! The text of a script as it was read, and how people refer to it.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::fault::{Fault, LoadError};

/// A script larger than this is not a script. Reading stops here.
pub const SOURCE_BYTES_MAX: usize = 1024 * 1024;

/// One version of the script's text.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as it was configured; what errors and logs say.
    pub path: String,
    pub text: String,
    /// SHA-256 of the text, in hex.
    pub hash: String,
}

impl Source {
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut hash = String::with_capacity(64);
        for byte in digest.as_ref() {
            // Writing to a String does not fail.
            let _ = write!(hash, "{byte:02x}");
        }
        Source { path: path.into(), text, hash }
    }

    /// Reads a script from disk. Fails where the file can not be read, is larger than
    /// [`SOURCE_BYTES_MAX`] or is not UTF-8.
    pub fn read(path: &Path) -> Result<Source, LoadError> {
        let shown = path.display().to_string();
        let refused = |why: String| LoadError::from(Fault::new(format!("{shown}: {why}")));
        let bytes =
            read_bytes(path).map_err(|error| refused(format!("can not be read: {error}")))?;
        if bytes.len() > SOURCE_BYTES_MAX {
            return Err(refused(format!("is larger than {SOURCE_BYTES_MAX} bytes")));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Source::new(shown, text)),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = 1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..valid]).count();
                Err(refused(format!("line {line} is not UTF-8")))
            }
        }
    }

    /// The first six digits of the hash: enough to tell versions apart in a log.
    pub fn short_hash(&self) -> &str {
        self.hash.get(..6).unwrap_or(&self.hash)
    }

    /// The text of a line; the first line is 1.
    pub fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?)
    }

    /// The first line on which a name stands as a word of its own.
    pub fn line_of(&self, name: &str) -> Option<usize> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        self.text
            .lines()
            .position(|line| {
                line.match_indices(name).any(|(at, _)| {
                    !line[..at].ends_with(is_word) && !line[at + name.len()..].starts_with(is_word)
                })
            })
            .map(|index| index + 1)
    }
}

/// All bytes of a file, but not more than one over the limit, so that a device or a huge file
/// costs no memory.
pub(super) fn read_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_script_is_refused_with_its_reason() {
        let dir = std::env::temp_dir().join(format!("relay-source-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let cases: [(&str, Option<Vec<u8>>, &str); 3] = [
            ("missing.lua", None, "can not be read"),
            ("latin1.lua", Some(b"-- one\n-- f\xfcnf\n".to_vec()), "line 2 is not UTF-8"),
            ("large.lua", Some(vec![b' '; SOURCE_BYTES_MAX + 1]), "is larger than 1048576 bytes"),
        ];
        for (name, bytes, why) in cases {
            let path = dir.join(name);
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).expect("write");
            }
            let error = Source::read(&path).expect_err(name);
            assert!(error.summary().contains(why), "{error}");
            assert!(error.summary().contains(name), "{error}");
        }
        std::fs::write(dir.join("largest.lua"), vec![b' '; SOURCE_BYTES_MAX]).expect("write");
        assert!(Source::read(&dir.join("largest.lua")).is_ok());
        std::fs::remove_dir_all(&dir).expect("remove");
    }

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
        assert_eq!(source.line(3), Some("foo = 3"));
        assert_eq!(source.line(0), None);
    }
}
