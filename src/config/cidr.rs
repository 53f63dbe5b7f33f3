//! Networks as the operator writes them: `10.0.0.0/8`, `2001:db8::/32`, or a single address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::quoted;
use super::list;

/// Addresses that something is true of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cidrs(Vec<Cidr>);

/// A network; a single address is one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr(IpNet);

/// Why a text is no [`Cidr`], and what to write instead where that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CidrError(String);

impl Cidrs {
    /// The addresses of this machine alone.
    pub fn loopback() -> Cidrs {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
        Cidrs(vec![Cidr(v4.into()), Cidr(IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)))])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address is in one of the networks. An IPv4 address that a socket for IPv6 reports
    /// is an IPv4 address.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        self.0.iter().any(|Cidr(network)| network.contains(&addr))
    }
}

impl FromIterator<Cidr> for Cidrs {
    fn from_iter<I: IntoIterator<Item = Cidr>>(networks: I) -> Cidrs {
        Cidrs(networks.into_iter().collect())
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| CidrError(format!("{} {why}", quoted(text)));
        let parsed = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse());
        let network: IpNet = parsed.map_err(|_| {
            wrong("is no network: write 10.0.0.0/8, 2001:db8::/32 or a single address".to_owned())
        })?;
        // The rest of the address would count for nothing: perhaps another prefix was meant.
        if network != network.trunc() {
            let (whole, single) = (network.trunc(), network.addr());
            return Err(wrong(format!("has bits behind its prefix: write {whole} or {single}")));
        }
        match network {
            IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => {
                Err(wrong("is IPv4 written as IPv6: write it as IPv4".to_owned()))
            }
            network => Ok(Cidr(network)),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.prefix_len() == self.0.max_prefix_len() {
            true => self.0.addr().fmt(f),
            false => self.0.fmt(f),
        }
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Cidrs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        list::one_or_many(from, "a list of networks").map(Cidrs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(networks: &[&str]) -> Cidrs {
        networks.iter().map(|text| text.parse::<Cidr>().expect(text)).collect()
    }

    #[test]
    fn reads_and_writes_networks() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::1", "::1"),
        ] {
            assert_eq!(text.parse::<Cidr>().expect(text).to_string(), written);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, part) in [
            ("", "is no network"),
            ("10.0.0.0/33", "is no network"),
            ("10.0.0/8", "is no network"),
            ("::/129", "is no network"),
            ("[::1]", "is no network"),
            ("localhost", "is no network"),
            (" 10.0.0.1", "is no network"),
            ("10.1.2.3/8", "write 10.0.0.0/8 or 10.1.2.3"),
            ("2001:db8::1/32", "write 2001:db8::/32 or 2001:db8::1"),
            ("::ffff:10.0.0.1", "write it as IPv4"),
            ("::ffff:10.0.0.0/104", "write it as IPv4"),
        ] {
            let error = text.parse::<Cidr>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_address_is_in_its_networks() {
        let networks = cidrs(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"]);
        for (addr, within) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("::ffff:10.0.0.1", true),
            ("::ffff:11.0.0.1", false),
            ("::10.0.0.1", false),
        ] {
            assert_eq!(networks.contains(addr.parse().expect(addr)), within, "{addr}");
        }
        let all = cidrs(&["0.0.0.0/0"]);
        assert!(all.contains([1, 2, 3, 4].into()));
        assert!(!all.contains("::1".parse().expect("an address")), "IPv4 is not IPv6");
    }
}
