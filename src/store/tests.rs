use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Value {
    Value::Bytes(Arc::from(text.as_bytes()))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_key_lives_until_its_time_is_over() {
    let (mut store, start) = (Store::new(4_096), Instant::now());
    let at = |second| start + seconds(second);
    assert_eq!(store.set(b"k", bytes("v"), Some(seconds(10)), start), Ok(()));
    assert_eq!(store.get(b"k", at(9)), Some(&bytes("v")));
    assert_eq!(store.get(b"k", at(10)), None);
    assert!(!store.delete(b"k", at(10)) && !store.expire(b"k", seconds(1), at(10)));
    // Set again without a time: it stays. Incremented: it keeps its time.
    assert_eq!(store.set(b"k", bytes("v"), None, start), Ok(()));
    assert!(store.get(b"k", at(1_000_000)).is_some());
    assert_eq!(store.incr(b"n", 2.0, start), Ok(2.0));
    assert!(store.expire(b"n", seconds(5), start));
    assert_eq!(store.incr(b"n", 0.5, at(4)), Ok(2.5));
    assert_eq!(store.incr(b"n", 1.0, at(5)), Ok(1.0));
    assert!(store.get(b"n", at(1_000_000)).is_some());
}

#[test]
fn what_can_not_be_stored_is_an_error_and_changes_nothing() {
    let (mut store, now) = (Store::new(1_000), Instant::now());
    let long = [0; KEY_BYTES_MAX + 1];
    for key in [&b""[..], &long] {
        assert_eq!(store.set(key, bytes("v"), None, now), Err(StoreError::Key));
        assert_eq!(store.incr(key, 1.0, now), Err(StoreError::Key));
    }
    assert_eq!(store.set(b"k", Value::Number(f64::NAN), None, now), Err(StoreError::NotFinite));
    assert_eq!(store.set(b"k", bytes("v"), None, now), Ok(()));
    assert_eq!(store.incr(b"k", 1.0, now), Err(StoreError::NotANumber));
    assert_eq!(store.incr(b"n", f64::MAX, now), Ok(f64::MAX));
    assert_eq!(store.incr(b"n", f64::MAX, now), Err(StoreError::NotFinite));
    assert_eq!(store.get(b"n", now), Some(&Value::Number(f64::MAX)));
    let full = Err(StoreError::Full { bytes_max: 1_000 });
    assert_eq!(store.set(b"k", bytes(&"v".repeat(800)), None, now), full);
    assert_eq!(store.get(b"k", now), Some(&bytes("v")));
}

#[test]
fn what_is_over_is_not_in_the_way_and_is_swept_by_and_by() {
    let (mut store, now) = (Store::new(10 * (ENTRY_BYTES + 2)), Instant::now());
    let later = now + seconds(1);
    for key in 0..10u8 {
        assert_eq!(store.set(&[key], bytes("v"), Some(seconds(1)), now), Ok(()));
    }
    assert!(store.set(b"k", bytes("v"), None, now).is_err());
    assert_eq!(store.set(b"k", bytes("v"), None, later), Ok(()));
    assert_eq!(store.entries.len(), 10);
    store.sweep(4, later);
    assert_eq!(store.entries.len(), 6);
    store.sweep(100, later);
    assert_eq!((store.entries.len(), store.expiries.len()), (1, 0));
    assert_eq!(store.bytes, ENTRY_BYTES + 2);
}

#[derive(Clone, Debug)]
enum Step {
    Get,
    Set(u8, Value, Option<u64>),
    Delete(u8),
    Incr(u8, i8),
    Cas(u8, Option<Value>, Value, Option<u64>),
    Expire(u8, u64),
    Sweep(usize),
    Pass(u64),
    Begin,
    Commit,
    Rollback,
}

fn step() -> impl Strategy<Value = Step> {
    let value = || {
        prop_oneof![
            (0..3u8).prop_map(|n| Value::Number(f64::from(n))),
            (0..200usize).prop_map(|length| bytes(&"x".repeat(length))),
            Just(bytes("a")),
        ]
    };
    let ttl = || prop::option::of(1..5u64);
    prop_oneof![
        1 => Just(Step::Get),
        3 => (0..6u8, value(), ttl()).prop_map(|(key, value, ttl)| Step::Set(key, value, ttl)),
        1 => (0..6u8).prop_map(Step::Delete),
        2 => (0..6u8, any::<i8>()).prop_map(|(key, by)| Step::Incr(key, by)),
        2 => (0..6u8, prop::option::of(value()), value(), ttl())
            .prop_map(|(key, expected, value, ttl)| Step::Cas(key, expected, value, ttl)),
        1 => (0..6u8, 1..5u64).prop_map(|(key, ttl)| Step::Expire(key, ttl)),
        1 => (0..3usize).prop_map(Step::Sweep),
        1 => (0..3u64).prop_map(Step::Pass),
        1 => Just(Step::Begin),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
    ]
}

/// The plainest store: every value with the second at which it is over; all of it is copied when
/// something may have to be undone.
#[derive(Clone, Default)]
struct Model(BTreeMap<u8, (Value, Option<u64>)>);

const BYTES_MAX: usize = 700;

impl Model {
    fn pass(&mut self, now: u64) {
        self.0.retain(|_, (_, over)| over.is_none_or(|over| over > now));
    }

    fn set(&mut self, key: u8, value: Value, over: Option<u64>) -> bool {
        let before = self.0.insert(key, (value, over));
        let length = |value: &Value| match value {
            Value::Bytes(bytes) => bytes.len(),
            Value::Number(_) => 0,
        };
        let bytes: usize = self.0.values().map(|(value, _)| ENTRY_BYTES + 1 + length(value)).sum();
        let fits = bytes <= BYTES_MAX;
        if !fits {
            self.0.remove(&key);
            self.0.extend(before.map(|before| (key, before)));
        }
        fits
    }

    fn get(&self, key: u8) -> Option<&Value> {
        self.0.get(&key).map(|(value, _)| value)
    }
}

proptest! {
    #[test]
    fn the_store_follows_the_model(steps in prop::collection::vec(step(), 0..150)) {
        let (mut store, start) = (Store::new(BYTES_MAX), Instant::now());
        let (mut model, mut undone, mut second) = (Model::default(), Model::default(), 0);
        for step in steps {
            let now = start + seconds(second);
            let over = |ttl: Option<u64>| ttl.map(|ttl| second + ttl);
            match step {
                Step::Get => {}
                Step::Set(key, value, ttl) => {
                    let set = store.set(&[key], value.clone(), ttl.map(seconds), now);
                    prop_assert_eq!(set.is_ok(), model.set(key, value, over(ttl)));
                }
                Step::Delete(key) => {
                    prop_assert_eq!(store.delete(&[key], now), model.0.remove(&key).is_some());
                }
                Step::Incr(key, by) => {
                    let (value, over) =
                        model.0.get(&key).cloned().unwrap_or((Value::Number(0.0), None));
                    let sum = match value {
                        Value::Number(number) => Some(number + f64::from(by)),
                        Value::Bytes(_) => None,
                    };
                    let sum = sum.filter(|sum| model.set(key, Value::Number(*sum), over));
                    prop_assert_eq!(store.incr(&[key], f64::from(by), now).ok(), sum);
                }
                Step::Cas(key, expected, value, ttl) => {
                    let answer =
                        store.cas(&[key], expected.as_ref(), value.clone(), ttl.map(seconds), now);
                    let same = model.get(key) == expected.as_ref();
                    let set = same && model.set(key, value, over(ttl));
                    prop_assert_eq!(answer.ok(), (set == same).then_some(same));
                }
                Step::Expire(key, ttl) => {
                    let there = model.0.get_mut(&key).map(|entry| entry.1 = over(Some(ttl)));
                    prop_assert_eq!(store.expire(&[key], seconds(ttl), now), there.is_some());
                }
                Step::Sweep(at_most) => store.sweep(at_most, now),
                Step::Pass(passed) => {
                    second += passed;
                    model.pass(second);
                }
                Step::Begin => {
                    store.begin();
                    undone = model.clone();
                }
                Step::Commit => {
                    store.commit();
                    undone = model.clone();
                }
                Step::Rollback => {
                    store.rollback();
                    model = undone.clone();
                    model.pass(second);
                    undone = model.clone();
                }
            }
            let now = start + seconds(second);
            for key in 0..6u8 {
                prop_assert_eq!(store.get(&[key], now), model.get(key));
            }
            prop_assert!(store.bytes <= BYTES_MAX);
            let counted: usize = store.entries.iter().map(|(key, entry)| entry.bytes(key)).sum();
            prop_assert_eq!(store.bytes, counted);
            let mortal = store.entries.values().filter(|entry| entry.expires.is_some()).count();
            prop_assert_eq!(store.expiries.len(), mortal);
        }
    }
}
