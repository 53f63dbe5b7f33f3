//! A short text that one thread writes at every call and another reads once in a blue moon.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// As long as the longest opcode by default; longer ones are cut.
const BYTES_MAX: usize = 128;

/// Without a lock, so that writing costs a few plain stores. A reader may see a mixture of two
/// texts; the one reader there is looks at a call that has not changed for a second.
#[derive(Default)]
pub struct Label {
    length: AtomicUsize,
    words: [AtomicU64; BYTES_MAX / 8],
}

impl Label {
    pub fn write(&self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(BYTES_MAX)];
        self.length.store(bytes.len(), Ordering::Relaxed);
        let (parts, rest) = bytes.as_chunks();
        let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        let words = parts.iter().map(|part| u64::from_le_bytes(*part)).chain([last]);
        for (word, part) in self.words.iter().zip(words) {
            word.store(part, Ordering::Relaxed);
        }
    }

    pub fn read(&self) -> String {
        let words = self.words.iter().map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(self.length.load(Ordering::Relaxed));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_written_last() {
        let label = Label::default();
        for text in ["", "feedback", "on.connect", "ü", &"x".repeat(BYTES_MAX), "a"] {
            label.write(text);
            assert_eq!(label.read(), text);
        }
        label.write(&"y".repeat(BYTES_MAX + 1));
        assert_eq!(label.read().len(), BYTES_MAX);
    }
}
