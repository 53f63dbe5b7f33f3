//! Between `bufferON` and `bufferOFF`, with every cut.

use super::*;

#[test]
fn bursts() {
    let cases: &[Case] = &[
        (
            "piece by piece",
            &[b"bufferON", PAUSE, b"{\"a\":", PAUSE, b"1}", PAUSE, b"bufferOFF", b"{}"],
            &[".", ".", ".", "{\"a\":1}", "{}"],
        ),
        (
            "blanks around",
            &[b" \nbufferON \r\n", PAUSE, b"{}\nbufferOFF \n", PAUSE],
            &[".", "{}\n"],
        ),
        ("at once", &[b"bufferON{\"a\":1}bufferOFF{}"], &[".", "{\"a\":1}", "{}"]),
        ("a blank before", &[b"bufferON {} bufferOFF[]"], &[".", "{} ", "[]"]),
        (
            "in pieces cut in a string",
            &[b"bufferON", PAUSE, b"[\"]", PAUSE, b"bufferOFF\"", PAUSE, b"]bufferOFF"],
            &[".", ".", ".", "[\"]bufferOFF\"]"],
        ),
        (
            "text",
            &[b"bufferON", PAUSE, b"hello ", PAUSE, b"worldbufferOFF\n", PAUSE, b"{}"],
            &[".", ".", "hello world", "{}"],
        ),
        (
            "text goes on",
            &[b"bufferON", PAUSE, b"abufferOFFb", PAUSE, b"bufferOFF", PAUSE],
            &[".", ".", "abufferOFFb"],
        ),
        (
            "something behind the value",
            &[b"bufferON", PAUSE, b"{}buffer", PAUSE, b"ON{}bufferOFF", PAUSE],
            &[".", ".", "{}bufferON{}"],
        ),
        ("an end in two", &[b"bufferON", PAUSE, b"{}buffer", PAUSE, b"OFF"], &[".", ".", "{}"]),
        (
            "an open value",
            &[b"bufferON", PAUSE, b"{\"a\"", PAUSE, b"bufferOFF", PAUSE, b"{}"],
            &[".", ".", "{\"a\"", "{}"],
        ),
        ("nothing", &[b"bufferON", PAUSE, b"bufferOFF", PAUSE, b"{}"], &[".", "", "{}"]),
        ("nothing, then a value at once", &[b"bufferON", PAUSE, b"bufferOFF{}"], &[".", "", "{}"]),
        ("a string behind it", &[b"bufferON \"x\"", PAUSE, b"{}"], &[".", "{}"]),
        ("a string in it", &[b"buffer\"x\"ON", PAUSE, b"{}"], &[".", "{}"]),
        ("an end of nothing", &[b"bufferOFF", PAUSE, b"{}"], &[".", "{}"]),
        (
            "two pauses",
            &[b"bufferON", PAUSE, PAUSE, b"x", PAUSE, PAUSE, b"bufferOFF", PAUSE],
            &[".", ".", "x"],
        ),
        ("another word", &[b"bufferONE", PAUSE, b"{}"], &[".", "{}"]),
        ("half the word", &[b"buffer", PAUSE, b"ON", PAUSE, b"{}"], &[".", ".", "{}"]),
        ("two words", &[b"bufferON bufferON", PAUSE, b"{}"], &[".", "{}"]),
        ("a JSON string", &[b"\"bufferON\"", PAUSE, b"{}"], &[".", "{}"]),
        ("a word before", &[b"x bufferON", PAUSE, b"{}"], &[".", "{}"]),
        ("not UTF-8", &[b"bufferON", PAUSE, b"{\xff}bufferOFF{}"], &[".", ".", "{}"]),
        (
            "half a character a piece",
            &[b"bufferON", PAUSE, b"\xc3", PAUSE, b"\xa9bufferOFF", PAUSE],
            &[".", ".", "é"],
        ),
    ];
    for (name, parts, frames) in cases {
        check_every_cut(name, parts, &(expect(frames), None));
    }
}
