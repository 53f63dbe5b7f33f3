//! `relay.store`: values that outlive a generation of the script.
//!
//! The contract is one that a shared engine of the Redis kind can keep too:
//! * A key is 1 to 512 bytes; a value is a byte string or a finite number, and comes back as what it
//!   was. Numbers are doubles: whole ones are exact up to 2^53.
//! * Each call is one atomic change of one key. There is no listing of keys and no change of two.
//! * `set` and `cas` replace a value together with its time to live: without one the value stays.
//!   `incr` keeps the time to live, `expire` gives one to a key that is there.
//! * A key is gone at the moment its time is over: from then on it counts as absent everywhere.
//! * When the memory is used up, what would add to it is an error. Nothing else is evicted.
//!
//! Beyond that, here: what a handler changes is undone if it fails ([`Store::rollback`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

/// The longest key.
pub const KEY_BYTES_MAX: usize = 512;
/// What an entry costs besides its key and value: its places in the map and among the expiries, and
/// what the allocator adds to each.
const ENTRY_BYTES: usize = 128;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bytes(Arc<[u8]>),
    Number(f64),
}

/// Why a call changed nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    #[error("key must be 1 to {KEY_BYTES_MAX} bytes long")]
    Key,
    #[error("the store is full (store.memory_bytes_max = {bytes_max})")]
    Full { bytes_max: usize },
    #[error("the value is not a number")]
    NotANumber,
    #[error("the number would not be finite")]
    NotFinite,
}

/// Values by key. Time is handed in, so that a call happens at one moment.
pub struct Store {
    bytes_max: usize,
    bytes: usize,
    entries: HashMap<Key, Entry>,
    /// The keys that will expire, the next one first.
    expiries: BTreeSet<(Instant, Key)>,
    /// What the keys that the running handler has changed were before.
    before: HashMap<Key, Option<Entry>>,
}

type Key = Arc<[u8]>;

#[derive(Clone, Debug)]
struct Entry {
    value: Value,
    expires: Option<Instant>,
}

impl Entry {
    fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn bytes(&self, key: &[u8]) -> usize {
        let value = match &self.value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Number(_) => 0,
        };
        ENTRY_BYTES + key.len() + value
    }
}

impl Store {
    pub fn new(bytes_max: usize) -> Store {
        Store {
            bytes_max,
            bytes: 0,
            entries: HashMap::new(),
            expiries: BTreeSet::new(),
            before: HashMap::new(),
        }
    }

    /// What is kept stays, also where it is more than this.
    pub fn set_limit(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    pub fn get(&self, key: &[u8], now: Instant) -> Option<&Value> {
        self.entry(key, now).map(|entry| &entry.value)
    }

    pub fn set(
        &mut self,
        key: &[u8],
        value: Value,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<(), StoreError> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(StoreError::Key);
        }
        if matches!(value, Value::Number(number) if !number.is_finite()) {
            return Err(StoreError::NotFinite);
        }
        self.put(key, Entry { value, expires: ttl.map(|ttl| now + ttl) }, now)
    }

    /// Whether there was anything.
    pub fn delete(&mut self, key: &[u8], now: Instant) -> bool {
        let there = self.entry(key, now).is_some();
        if there {
            self.change(&Arc::from(key), None);
        }
        there
    }

    /// Adds to a number, which is 0 where there is none, and returns the sum.
    pub fn incr(&mut self, key: &[u8], by: f64, now: Instant) -> Result<f64, StoreError> {
        let (number, expires) = match self.entry(key, now) {
            None => (0.0, None),
            Some(Entry { value: Value::Number(number), expires }) => (*number, *expires),
            Some(_) => return Err(StoreError::NotANumber),
        };
        let ttl = expires.map(|expires| expires - now);
        self.set(key, Value::Number(number + by), ttl, now)?;
        Ok(number + by)
    }

    /// Sets a value if the present one is as expected; `None` expects that there is none.
    pub fn cas(
        &mut self,
        key: &[u8],
        expected: Option<&Value>,
        value: Value,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<bool, StoreError> {
        let as_expected = self.get(key, now) == expected;
        if as_expected {
            self.set(key, value, ttl, now)?;
        }
        Ok(as_expected)
    }

    /// Gives a key a time to live from now on; `false` where there is no such key.
    pub fn expire(&mut self, key: &[u8], ttl: Duration, now: Instant) -> bool {
        let Some(entry) = self.entry(key, now) else { return false };
        let entry = Entry { expires: Some(now + ttl), ..entry.clone() };
        self.change(&Arc::from(key), Some(entry));
        true
    }

    /// Frees what is over, but no more than so many entries.
    pub fn sweep(&mut self, at_most: usize, now: Instant) {
        for _ in 0..at_most {
            if !self.free_one(now) {
                return;
            }
        }
    }

    // Transactions.

    /// From here on changes can be undone.
    pub fn begin(&mut self) {
        self.before.clear();
    }

    /// Keeps what was changed since [`Store::begin`].
    pub fn commit(&mut self) {
        self.before.clear();
    }

    /// Makes as if nothing had been called since [`Store::begin`].
    pub fn rollback(&mut self) {
        for (key, entry) in std::mem::take(&mut self.before) {
            self.replace(&key, entry);
        }
    }

    fn entry(&self, key: &[u8], now: Instant) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| !entry.is_over(now))
    }

    fn put(&mut self, key: &[u8], entry: Entry, now: Instant) -> Result<(), StoreError> {
        let bytes = entry.bytes(key);
        loop {
            let before = self.entries.get(key).map_or(0, |before| before.bytes(key));
            if self.bytes - before + bytes <= self.bytes_max {
                break;
            }
            // What is over and not swept yet must not be in the way. Each entry is freed once, so
            // this is paid for by those who stored.
            if !self.free_one(now) {
                return Err(StoreError::Full { bytes_max: self.bytes_max });
            }
        }
        self.change(&Arc::from(key), Some(entry));
        Ok(())
    }

    fn free_one(&mut self, now: Instant) -> bool {
        let next = self.expiries.first().filter(|(expires, _)| *expires <= now);
        let Some(key) = next.map(|(_, key)| Arc::clone(key)) else { return false };
        // Not to be undone: it is as absent as before.
        self.replace(&key, None);
        true
    }

    /// A change that can be undone. Only the first one of a key has to be remembered, so the memory
    /// for it is bounded by what was stored.
    fn change(&mut self, key: &Key, entry: Option<Entry>) {
        let before = self.replace(key, entry);
        self.before.entry(Arc::clone(key)).or_insert(before);
    }

    fn replace(&mut self, key: &Key, entry: Option<Entry>) -> Option<Entry> {
        if let Some(entry) = &entry {
            self.bytes += entry.bytes(key);
            self.expiries.extend(entry.expires.map(|expires| (expires, Arc::clone(key))));
        }
        let before = match entry {
            Some(entry) => self.entries.insert(Arc::clone(key), entry),
            None => self.entries.remove(key),
        };
        if let Some(before) = &before {
            self.bytes -= before.bytes(key);
            let now = self.entries.get(key).and_then(|entry| entry.expires);
            if let Some(expires) = before.expires.filter(|expires| Some(*expires) != now) {
                self.expiries.remove(&(expires, Arc::clone(key)));
            }
        }
        before
    }
}

#[cfg(test)]
mod tests;
