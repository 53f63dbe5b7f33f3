//! Reads the script from disk.

use std::path::Path;

use super::fault::{Fault, LoadError};
use super::source::Source;
pub use crate::watch::FILE_BYTES_MAX as SOURCE_BYTES_MAX;
use crate::watch::{LookedAt, read_bytes};

impl Source {
    /// Reads a script from disk. Fails where the file can not be read, is larger than
    /// [`SOURCE_BYTES_MAX`] or is not UTF-8.
    pub fn read(path: &Path) -> Result<Source, LoadError> {
        let shown = path.display().to_string();
        let refused = |why: String| LoadError::from(Fault::new(format!("{shown}: {why}")));
        let bytes =
            read_bytes(path).map_err(|error| refused(format!("can not be read: {error}")))?;
        Source::from_bytes(&shown, bytes).map_err(refused)
    }

    /// The text that these bytes are, or why they are none.
    pub(super) fn from_bytes(shown: &str, bytes: Vec<u8>) -> Result<Source, String> {
        if bytes.len() > SOURCE_BYTES_MAX {
            return Err(format!("is larger than {SOURCE_BYTES_MAX} bytes"));
        }
        match String::from_utf8(bytes) {
            // Some editors begin a file with a mark that Lua does not know.
            Ok(text) => Ok(Source::new(shown, text.strip_prefix('\u{feff}').unwrap_or(&text))),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let line = 1 + memchr::memchr_iter(b'\n', &error.as_bytes()[..valid]).count();
                Err(format!("line {line} is not UTF-8"))
            }
        }
    }

    /// Whether this is what is on disk, modules included.
    pub fn is_on_disk(&self, text: &str) -> bool {
        let same = |(path, bytes): LookedAt| read_bytes(&path).ok() == bytes;
        self.text == text && self.modules.looked_at().into_iter().all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_script_is_refused_with_its_reason() {
        let dir = std::env::temp_dir().join(format!("relay-source-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let cases: [(&str, Option<Vec<u8>>, &str); 3] = [
            ("missing.lua", None, "can not be read"),
            ("latin1.lua", Some(b"-- one\n-- f\xfcnf\n".to_vec()), "line 2 is not UTF-8"),
            ("large.lua", Some(vec![b' '; SOURCE_BYTES_MAX + 1]), "is larger than 1048576 bytes"),
        ];
        for (name, bytes, why) in cases {
            let path = dir.join(name);
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).expect("write");
            }
            let error = Source::read(&path).expect_err(name);
            assert!(error.summary().contains(why), "{error}");
            assert!(error.summary().contains(name), "{error}");
        }
        // Opening this one would wait for ever.
        let pipe = dir.join("pipe.lua");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("coreutils");
        assert!(made.success());
        let error = Source::read(&pipe).expect_err("no file");
        assert!(
            error.summary().contains("pipe.lua: can not be read: is no regular file"),
            "{error}"
        );
        std::fs::write(dir.join("marked.lua"), "\u{feff}return 1").expect("write");
        let marked = Source::read(&dir.join("marked.lua")).expect("a script");
        assert_eq!(marked.text, "return 1");
        std::fs::write(dir.join("largest.lua"), vec![b' '; SOURCE_BYTES_MAX]).expect("write");
        assert!(Source::read(&dir.join("largest.lua")).is_ok());
        std::fs::remove_dir_all(&dir).expect("remove");
    }
}
