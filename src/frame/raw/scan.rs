//! Where a JSON object or array ends, and where a string does, over input that is cut anywhere.

use memchr::memchr2;

/// The search for the end of an object or array. `}` and `]` are not told apart, because a stream in
/// which they are confused has no better end to find.
#[derive(Debug, Default)]
pub(super) struct Scan {
    depth: usize,
    string: Quote,
}

impl Scan {
    /// Takes the bytes up to the end of the value, or all. The first byte of a value opens it.
    pub(super) fn take<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        let all = *input;
        let mut at = 0;
        while let Some(&byte) = all.get(at) {
            if self.string != Quote::Outside {
                at += self.string.skip(&all[at..]);
                continue;
            }
            at += 1;
            match byte {
                b'"' => self.string = Quote::Inside,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        #[cfg(test)]
        super::tests::count(at);
        let (value, rest) = all.split_at(at);
        *input = rest;
        value
    }

    /// Whether the value has ended; only once it has begun.
    pub(super) fn is_over(&self) -> bool {
        self.depth == 0
    }
}

/// Where a scan stands with regard to JSON strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Quote {
    #[default]
    Outside,
    Inside,
    /// Inside, behind a backslash.
    Escaped,
}

impl Quote {
    /// From within a string to behind its closing quote, or over all `bytes`; how many that are.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if *self == Quote::Escaped && !bytes.is_empty() {
            *self = Quote::Inside;
            at = 1;
        }
        while let Some(found) = bytes.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
            at += found + 1;
            if bytes[at - 1] == b'"' {
                *self = Quote::Outside;
                return at;
            }
            if at == bytes.len() {
                *self = Quote::Escaped;
                return at;
            }
            at += 1;
        }
        bytes.len()
    }
}
