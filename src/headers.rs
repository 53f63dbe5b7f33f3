//! The header lines that a client sent with its handshake.

/// Header lines in the order sent: names in lower case, values without surrounding blanks, and with
/// U+FFFD for what is not UTF-8. They live as long as the connection, hence in one allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `name:value\n` for each; a name holds no colon, neither a line feed.
    lines: Box<str>,
}

impl Headers {
    /// From names and values as they were parsed off the wire, without blanks around them.
    pub fn from_wire<'a>(parsed: impl Iterator<Item = (&'a str, &'a [u8])>) -> Headers {
        let mut lines = String::new();
        for (name, value) in parsed {
            let start = lines.len();
            lines.push_str(name);
            lines[start..].make_ascii_lowercase();
            lines.extend([":", &*String::from_utf8_lossy(value), "\n"]);
        }
        Headers { lines: lines.into_boxed_str() }
    }

    /// The value of the first header of this name, which must be in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all headers of this name, which must be in lower case.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.lines.lines().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(':'))
    }

    /// Names and values in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.lines().filter_map(|line| line.split_once(':'))
    }

    /// Forgets the headers whose (lower-case) names `keep` refuses, to save memory.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        *self = self.iter().filter(|(name, _)| keep(name)).collect();
    }

    /// Whether a list of tokens, over all headers of this name, has this one in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|list| list.split(','))
            .any(|it| it.trim().eq_ignore_ascii_case(token))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Headers {
        let mut lines = String::new();
        for (name, value) in pairs {
            lines.extend([name, ":", value, "\n"]);
        }
        Headers { lines: lines.into_boxed_str() }
    }
}
