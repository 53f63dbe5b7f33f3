//! The text of a script as it was read, and how people refer to it.

use std::fmt::Write;

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
        assert_eq!(source.line(3), Some("foo = 3"));
        assert_eq!(source.line(0), None);
    }
}
