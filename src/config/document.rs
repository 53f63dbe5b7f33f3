//! A TOML file that remembers which line each of its keys stands on.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};
use toml_edit::{Document as Parsed, Item, TableLike};

use super::error::{ConfigError, Origin, shown};
use crate::watch::{FILE_BYTES_MAX, read_bytes};

/// A config file, read and parsed.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    toml: Parsed<String>,
}

impl Document {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is no regular one or larger than [`FILE_BYTES_MAX`], is not UTF-8, or is
    /// not TOML.
    pub fn read(path: &Path) -> Result<Document, ConfigError> {
        let unreadable = |why: &dyn Display| ConfigError {
            origin: Origin::File { path: path.to_owned(), line: None },
            key: None,
            problem: format!("cannot read this config file: {why}"),
        };
        let bytes = read_bytes(path).map_err(|error| unreadable(&error))?;
        match bytes.len() > FILE_BYTES_MAX {
            true => Err(unreadable(&format_args!("is larger than {FILE_BYTES_MAX} bytes"))),
            false => Document::parse(path, bytes),
        }
    }

    fn parse(path: &Path, bytes: Vec<u8>) -> Result<Document, ConfigError> {
        let syntax_error = |line: Option<usize>, problem: String| ConfigError {
            origin: Origin::File { path: path.to_owned(), line },
            key: None,
            problem,
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = line_at(error.as_bytes(), error.utf8_error().valid_up_to());
            syntax_error(Some(line), "this line is not UTF-8".to_owned())
        })?;
        let toml = Parsed::parse(text.clone()).map_err(|error| {
            let line = error.span().map(|span| line_at(text.as_bytes(), span.start));
            // The parser speaks in up to three lines; an operator reads one, with the words it means.
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            let words = error.span().and_then(|span| text.get(span)).unwrap_or_default().trim();
            let at = match words.is_empty() || words.contains('\n') {
                true => String::new(),
                false => format!(" at `{}`", shown(words)),
            };
            syntax_error(line, format!("not valid TOML: {message}{at}"))
        })?;
        Ok(Document { path: path.to_owned(), toml })
    }

    /// The directory of the file; empty for the current one.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// All keys and values.
    pub fn values(&self) -> Dict {
        dict(self.toml.as_table())
    }

    /// The line on which the value at `path` is given, or the nearest table around it.
    pub fn origin_of<S: AsRef<str>>(&self, path: &[S]) -> Origin {
        let line = self.offset_of(path).map(|offset| line_at(self.toml.raw().as_bytes(), offset));
        Origin::File { path: self.path.clone(), line }
    }

    fn offset_of<S: AsRef<str>>(&self, path: &[S]) -> Option<usize> {
        let mut item = self.toml.as_item();
        let mut offset = None;
        for part in path {
            let part = part.as_ref();
            if let Some((key, inner)) = item.as_table_like().and_then(|t| t.get_key_value(part)) {
                offset = key.span().map(|span| span.start).or(offset);
                item = inner;
            } else if let Some(inner) = part.parse().ok().and_then(|n: usize| item.get(n)) {
                // The part of a list has no key, but a place of its own.
                offset = inner.span().map(|span| span.start).or(offset);
                item = inner;
            } else {
                break;
            }
        }
        offset
    }
}

/// The TOML value that `text` is, if it is one.
pub fn value_of(text: &str) -> Option<Value> {
    text.trim().parse::<toml_edit::Value>().ok().map(|parsed| value(&parsed))
}

/// The parts of a dotted key, which may be quoted: `script.settings."a.b"`.
pub fn key_parts(text: &str) -> Option<Vec<String>> {
    let keys = toml_edit::Key::parse(text).ok()?;
    Some(keys.iter().map(|key| key.get().to_owned()).collect())
}

fn dict(table: &dyn TableLike) -> Dict {
    let entries = table.iter().filter_map(|(key, item)| Some((key.to_owned(), item_value(item)?)));
    entries.collect()
}

fn item_value(item: &Item) -> Option<Value> {
    Some(match item {
        Item::None => return None,
        Item::Value(inner) => value(inner),
        Item::Table(table) => dict(table).into(),
        Item::ArrayOfTables(tables) => {
            Value::from(tables.iter().map(|table| Value::from(dict(table))).collect::<Vec<_>>())
        }
    })
}

fn value(toml: &toml_edit::Value) -> Value {
    use toml_edit::Value as Toml;
    match toml {
        Toml::String(text) => text.value().as_str().into(),
        Toml::Integer(number) => (*number.value()).into(),
        Toml::Float(number) => (*number.value()).into(),
        Toml::Boolean(flag) => (*flag.value()).into(),
        // No key takes a date; the script's settings get it as text.
        Toml::Datetime(date) => date.value().to_string().into(),
        Toml::Array(array) => array.iter().map(value).collect::<Vec<_>>().into(),
        Toml::InlineTable(table) => dict(table).into(),
    }
}

/// The line, counted from 1, of the byte at `offset`.
fn line_at(text: &[u8], offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, path: &[&str]) -> Option<usize> {
        let document = Document::parse(Path::new("f"), text.into()).expect("valid TOML");
        match document.origin_of(path) {
            Origin::File { line, .. } => line,
            other => panic!("not a file: {other:?}"),
        }
    }

    fn syntax_error(text: &[u8]) -> String {
        Document::parse(Path::new("f"), text.into()).expect_err("bad TOML").to_string()
    }

    #[test]
    fn finds_the_line_of_a_key_however_it_is_written() {
        let text = "# a\nlisten = [\n  'x',\n  'y' ]\nlimits.a = 1\r\nlimits.b.c = 2\n\
                    \n\n\n[log]\n# level = 1\nlevel = 2\n\
                    [script.settings]\n\"a.b\" = 1\nmany = '''\n\n'''\nlast = 1\n[[t]]\n[[t]]\nu = 1";
        for (path, expected) in [
            (&["listen"][..], 2),
            (&["listen", "0"], 3),
            (&["listen", "1"], 4),
            (&["limits", "a"], 5),
            (&["limits", "b", "c"], 6),
            (&["log"], 10),
            (&["log", "level"], 12),
            (&["script", "settings"], 13),
            (&["script", "settings", "a.b"], 14),
            (&["script", "settings", "last"], 18),
            (&["t", "1"], 20),
            (&["log", "missing"], 10),
        ] {
            assert_eq!(line(text, path), Some(expected), "{path:?}");
        }
        assert_eq!(line(text, &["missing"]), None);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let file = std::env::temp_dir().join(format!("relay-large-{}.toml", std::process::id()));
        for (bytes, refused) in [(FILE_BYTES_MAX, false), (FILE_BYTES_MAX + 1, true)] {
            std::fs::write(&file, vec![b'\n'; bytes]).expect("a temporary file");
            let read = Document::read(&file);
            let error = read.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(error.contains("is larger than 1048576 bytes"), refused, "{error}");
        }
        std::fs::remove_file(&file).expect("ours");
    }

    #[test]
    fn inline_tables_have_lines_too() {
        assert_eq!(line("a = 1\ntls = { key = 'k', x = {y = 1} }", &["tls", "x", "y"]), Some(2));
    }

    #[test]
    fn syntax_errors_are_one_line_with_a_place() {
        assert!(syntax_error(b"a = 1\nb = \n").starts_with("f:2: not valid TOML: "));
        assert!(syntax_error(b"a = 1\n\na = 2\n").starts_with("f:3: "));
        assert!(syntax_error(b"a = 'x").starts_with("f:1: "));
        assert_eq!(syntax_error(b"a = 1\nb = '\xff'"), "f:2: this line is not UTF-8");
        for text in [&b"[a"[..], b"a", b"a = [1,\n2", b"\x00", b"a = 1979-99-99", b"[a]\n[a]"] {
            assert!(!syntax_error(text).contains('\n'), "{}", syntax_error(text));
        }
    }
}
