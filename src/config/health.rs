//! `[health]`, whose address may be left out.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// `[health]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthConfig {
    /// Where `/ready` and `/health` are answered: an IP address and a port. `None`, written as an
    /// empty text: nowhere.
    #[serde(with = "or_empty")]
    pub listen: Option<SocketAddr>,
}

/// An address, or nothing, as text.
mod or_empty {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(addr: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
        match addr {
            Some(addr) => to.collect_str(addr),
            None => to.serialize_str(""),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
        match String::deserialize(from)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                de::Error::custom(format!(
                    "{text:?} is no IP address with a port: write 127.0.0.1:8084"
                ))
            }),
        }
    }
}
