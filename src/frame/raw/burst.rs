//! The holding of pieces between `bufferON` and `bufferOFF` on a raw stream, where a piece is a burst
//! of input.

use super::super::{BUFFER_OFF, append};
use super::scan::Scan;

/// What came since `bufferON`.
///
/// If what is held is one object or array, its end is known, and a `bufferOFF` behind it is found
/// however the stream is cut, so that what follows it without a pause is not swallowed. Whatever
/// else is held ends with a `bufferOFF` at a pause.
#[derive(Debug, Default)]
pub(super) struct Burst {
    pub(super) held: Vec<u8>,
    /// Bytes have come since the last ack.
    pub(super) is_unacked: bool,
    stage: Stage,
    /// So many bytes of `held` have been looked at.
    looked_at: usize,
    scan: Scan,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing but whitespace.
    #[default]
    Start,
    /// In an object or array.
    Value,
    /// Behind it, or behind the start of what is neither: there only a `bufferOFF` at once, or one
    /// at a pause, ends the burst.
    Behind,
}

impl Burst {
    /// Takes all input; or, if that ends the burst, up to behind the `bufferOFF`, and gives what was
    /// held before it. `bytes_max`: what may be held in all.
    pub(super) fn take(&mut self, input: &mut &[u8], bytes_max: usize) -> Option<Vec<u8>> {
        self.is_unacked |= !input.is_empty();
        let room = bytes_max.saturating_sub(self.held.len());
        append(&mut self.held, input, room);
        let Some(end) = self.find_end() else {
            *input = &[];
            return None;
        };
        // The last byte of the `bufferOFF` came with this input, or it would have been found before.
        let behind = self.held.len().saturating_sub(end + BUFFER_OFF.len());
        *input = &input[input.len().saturating_sub(behind)..];
        self.held.truncate(end);
        Some(std::mem::take(&mut self.held))
    }

    /// Looks on through what is held, for a `bufferOFF` behind an object or array.
    fn find_end(&mut self) -> Option<usize> {
        if self.stage == Stage::Start {
            self.skip_whitespace();
            self.stage = match self.held.get(self.looked_at)? {
                b'{' | b'[' => Stage::Value,
                _ => Stage::Behind,
            };
        }
        if self.stage == Stage::Value {
            let mut rest = &self.held[self.looked_at..];
            self.looked_at += self.scan.take(&mut rest).len();
            if self.scan.is_over() {
                self.stage = Stage::Behind;
            }
        }
        if self.stage == Stage::Behind {
            self.skip_whitespace();
            if self.held[self.looked_at..].starts_with(BUFFER_OFF) {
                return Some(self.looked_at);
            }
        }
        None
    }

    fn skip_whitespace(&mut self) {
        let rest = &self.held[self.looked_at..];
        let blanks = rest.len() - rest.trim_ascii_start().len();
        #[cfg(test)]
        super::tests::count(blanks);
        self.looked_at += blanks;
    }
}
