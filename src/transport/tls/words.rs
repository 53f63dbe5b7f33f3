//! What rustls finds wrong, as a person reads it: for much of it, it has the name of a variant only.

use rustls::{CertificateError, Error};

/// How to make a certificate that every client takes; certs/README.md has it with its reasons.
const GOOD_ONE: &str = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
                        -keyout key.pem -out cert.pem -subj /CN=HOST -addext subjectAltName=DNS:HOST \
                        -addext basicConstraints=critical,CA:FALSE makes a good one";

/// In words, with the cure where there is one.
pub fn in_words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::General(text) => text.clone(),
        other => other.to_string(),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::BadEncoding => "it is damaged, or no certificate at all".to_owned(),
        CertificateError::UnknownIssuer => "it is signed by nobody who is trusted here".to_owned(),
        // Somebody who is trusted has the issuer's name, and another key.
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is not signed by the issuer of that name who is trusted here".to_owned()
        }
        CertificateError::Expired => "it has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            let days = time.as_secs().saturating_sub(not_after.as_secs()) / 86_400;
            format!("it expired {days} days ago")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or this machine's clock is wrong".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // As webpki shows its own types: DnsName("localhost").
            let bare = |name: &String| {
                name.trim_start_matches("DnsName(\"").trim_end_matches("\")").to_owned()
            };
            let presented: Vec<String> = presented.iter().map(bare).collect();
            format!("it is not for {}, but for: {}", expected.to_str(), presented.join(", "))
        }
        other => match cause(other) {
            Some(webpki::Error::CaUsedAsEndEntity) => format!("it is {AUTHORITYS}: {GOOD_ONE}"),
            Some(webpki::Error::UnsupportedCertVersion) => {
                format!("it is of an old version of X.509, and version 3 is needed: {GOOD_ONE}")
            }
            _ => other.to_string(),
        },
    }
}

const AUTHORITYS: &str = "an authority's (CA:TRUE), which a server may not show as its own";

/// What is doubtful about a certificate that relay can serve with, if this is.
pub fn doubt(error: &CertificateError) -> Option<String> {
    let is_authoritys = matches!(cause(error), Some(webpki::Error::CaUsedAsEndEntity));
    is_authoritys.then(|| format!("is {AUTHORITYS}, and many clients refuse: {GOOD_ONE}"))
}

/// What of webpki's rustls has no word of its own for.
fn cause(error: &CertificateError) -> Option<&webpki::Error> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}
