//! The header of the PROXY protocol, versions 1 and 2, which a proxy that forwards bytes puts in
//! front of all others, TLS included, to say whom it speaks for (haproxy's doc/proxy-protocol.txt).

use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, line feed included (section 2.1).
const LINE_BYTES_MAX: usize = 107;
/// What a header of version 2 begins with: signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
/// Version 2 and the command LOCAL: the proxy speaks for itself, as in a health check. Whatever else
/// such a header holds is passed over (section 2.2).
const LOCAL: u8 = 0x20;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// Too few bytes to tell; ask again with more in front of the same ones.
    NeedMore,
    /// No such header: the bytes are the client's own.
    No,
    /// A header of so many bytes. Without a client the peer itself is the one.
    Header { client: Option<SocketAddr>, bytes: usize },
}

/// A header that breaks its rules: nothing behind it can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed PROXY header")]
pub struct Malformed;

/// Judges all bytes that have come so far. Of version 2, clients on TCP and UDP over IP are told;
/// those of other families and all TLVs are passed over.
///
/// # Errors
/// A header that breaks its rules, or has more than `bytes_max` bytes.
pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Proxied, Malformed> {
    let begins = |signature: &[u8]| {
        let length = bytes.len().min(signature.len());
        bytes[..length] == signature[..length]
    };
    let end = match bytes {
        _ if begins(SIGNATURE_1) => line_end(bytes)?,
        _ if begins(SIGNATURE_2) => block_end(bytes, bytes_max)?,
        _ => return Ok(Proxied::No),
    };
    let Some(header) = end.and_then(|end| bytes.get(..end)) else {
        return Ok(Proxied::NeedMore);
    };
    if begins(SIGNATURE_2) && header[SIGNATURE_2.len()] == LOCAL {
        return Ok(Proxied::Header { client: None, bytes: header.len() });
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, used)) if used == header.len() => {
            let client = parsed.proxied_address().map(|address| address.source);
            Ok(Proxied::Header { client, bytes: used })
        }
        _ => Err(Malformed),
    }
}

/// Where a header of version 1 ends, once that can be told.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let front = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\n', front) {
        Some(at) => Ok(Some(at + 1)),
        None if front.len() == LINE_BYTES_MAX => Err(Malformed),
        None => Ok(None),
    }
}

/// Where a header of version 2 ends, once that can be told.
fn block_end(bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Malformed> {
    let Some([.., version, _, high, low]) = bytes.get(..FIXED_BYTES) else {
        return Ok(None);
    };
    // Its upper half is the version (section 2.2); of another one the length means nothing.
    if version >> 4 != 2 {
        return Err(Malformed);
    }
    let end = FIXED_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
    if end > bytes_max { Err(Malformed) } else { Ok(Some(end)) }
}

#[cfg(test)]
mod tests;
