//! The certificate for localhost that relay makes itself, so that TLS works from the first start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::UnixTime;

use super::pair::{Pair, TlsError, Validity};

/// The development certificate's file in `tls.directory`.
pub const CERTIFICATE_FILE: &str = "dev-cert.pem";
/// Its key's file.
pub const KEY_FILE: &str = "dev-key.pem";

const DAY: Duration = Duration::from_secs(86_400);
/// 825 days in all, one of them in the past for clocks that lag: Apple's systems trust no
/// certificate that lives longer.
const LIFETIME: Duration = Duration::from_secs(824 * 86_400);

/// Loads the development certificate of `directory`, or makes a new one when there is none that
/// works. The flag says which.
pub fn load_or_make(directory: &Path, now: UnixTime) -> Result<(Pair, bool), TlsError> {
    if let Some(pair) = load(directory, now)? {
        return Ok((pair, false));
    }
    let failed = |error| TlsError::Development { directory: directory.to_owned(), error };
    fs::create_dir_all(directory).map_err(failed)?;
    // Of several relays that start at once here, one makes the pair and the others load it. Where
    // the file system knows no locks, they may replace each other's files; the next start mends it.
    let lock = File::create(directory.join(".lock")).map_err(failed)?;
    let _ = lock.lock();
    if let Some(pair) = load(directory, now)? {
        return Ok((pair, false));
    }
    make(directory, now).map_err(failed)?;
    let pair = Pair::load(&directory.join(CERTIFICATE_FILE), &directory.join(KEY_FILE))?;
    Ok((pair, true))
}

/// The pair that is there, if it works. A key that others may read is an error all the same: to
/// replace it silently would leave its owner believing that it was a secret.
fn load(directory: &Path, now: UnixTime) -> Result<Option<Pair>, TlsError> {
    match Pair::load(&directory.join(CERTIFICATE_FILE), &directory.join(KEY_FILE)) {
        Ok(pair) if pair.validity(now) == Validity::Valid => Ok(Some(pair)),
        Err(error @ TlsError::KeyExposed { .. }) => Err(error),
        Ok(_) | Err(_) => Ok(None),
    }
}

fn make(directory: &Path, now: UnixTime) -> io::Result<()> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, "relay development certificate");
    // Not an authority: whoever trusts this certificate trusts it for localhost and nothing else.
    // And no key usage, because OpenSSL takes a self-signed certificate with one for incomplete.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    params.not_before = now - DAY;
    params.not_after = now + LIFETIME;

    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.self_signed(&key).map_err(io::Error::other)?;
    // An end between the two leaves a pair that does not match, which the next start replaces.
    write(&directory.join(KEY_FILE), &key.serialize_pem(), 0o600)?;
    write(&directory.join(CERTIFICATE_FILE), &certificate.pem(), 0o644)
}

/// Puts `text` at `path` in one step, with `mode` from the first byte on.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    // Left by a process that was killed here; the lock says that none is at it now.
    let _ = fs::remove_file(&temporary);
    let written = new_file(&temporary, mode)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn new_file(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)
}
