//! Lists of what is written as text.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// Reads a list, or a single entry without brackets, which is how variables and flags are written.
/// `what` is told where it is neither.
pub fn one_or_many<'de, T, D>(from: D, what: &'static str) -> Result<Vec<T>, D::Error>
where
    T: FromStr<Err: fmt::Display> + Deserialize<'de>,
    D: Deserializer<'de>,
{
    from.deserialize_any(OneOrMany { what, entry: PhantomData })
}

struct OneOrMany<T> {
    what: &'static str,
    entry: PhantomData<T>,
}

impl<'de, T: FromStr<Err: fmt::Display> + Deserialize<'de>> de::Visitor<'de> for OneOrMany<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        text.parse().map(|entry| vec![entry]).map_err(E::custom)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = seq.next_element()? {
            entries.push(entry);
        }
        Ok(entries)
    }
}
