//! Against serde_json, and against itself with other cuts.

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

fn json() -> impl Strategy<Value = Json> {
    let text = || r#"[a-z"\\{}\[\] \né😀]{0,8}"#;
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        text().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(text(), inner, 0..4).prop_map(Json::from_iter),
        ]
    })
}

/// Values as serde_json writes them, compact or not, with blanks or nothing between them where JSON
/// allows nothing.
fn stream() -> impl Strategy<Value = String> {
    let one = (json(), any::<bool>(), "[ \t\r\n]{0,3}");
    prop::collection::vec(one, 0..8).prop_map(|values| {
        let mut out = String::new();
        for (value, pretty, blanks) in values {
            let text = if pretty { format!("{value:#}") } else { value.to_string() };
            let needs_blank = |c: char| c.is_alphanumeric() || c == '-';
            if out.ends_with(needs_blank) && text.starts_with(needs_blank) {
                out.push(' ');
            }
            out.extend([text, blanks]);
        }
        out
    })
}

fn cut_up<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn the_same_as_serde_json(stream in stream(), cuts: Vec<prop::sample::Index>) {
        let mut expected = Vec::new();
        let mut in_run = false;
        let mut values = serde_json::Deserializer::from_str(&stream).into_iter::<Json>();
        let mut start = 0;
        while let Some(value) = values.next() {
            let value = value.expect("serde_json reads what it wrote");
            let text = stream[start..values.byte_offset()].trim_ascii();
            start = values.byte_offset();
            if value.is_object() || value.is_array() {
                expected.push(message(text));
                in_run = false;
            } else if !in_run {
                expected.push(Frame::Noise);
                in_run = true;
            }
        }
        let mut parts = cut_up(stream.as_bytes(), &cuts);
        parts.push(PAUSE);
        let mut decoder = frame::Decoder::raw(1 << 20);
        let (frames, error) = decode(&mut decoder, &parts, usize::MAX, false);
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames, expected);
    }

    /// Nothing panics, and how the stream is cut makes no difference.
    #[test]
    fn any_bytes_in_any_parts(
        words in prop::collection::vec(
            prop::sample::select(vec![
                &b"{"[..], b"}", b"[", b"]", b"\"", b"\\", b" ", b"\n", b"a", b"\xc3\xa9", b"\xff",
                b"{}", b"bufferON", b"bufferOFF", b"buffer", b"xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            ]),
            0..40,
        ),
        cuts: Vec<prop::sample::Index>,
    ) {
        let stream = words.concat();
        let whole = decode(&mut frame::Decoder::raw(50), &[&stream, PAUSE], usize::MAX, false);
        let mut parts = cut_up(&stream, &cuts);
        parts.push(PAUSE);
        for (size, kept) in [(usize::MAX, false), (usize::MAX, true), (1, false)] {
            let got = decode(&mut frame::Decoder::raw(50), &parts, size, kept);
            prop_assert_eq!(&got, &whole);
        }
    }
}
