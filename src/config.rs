//! What the operator may say: built-in defaults, then `relay.toml`, then `RELAY_` variables of the
//! environment, then flags; the later one wins. A mistake in any of them is one readable message
//! ([`ConfigError`]), and nothing of a config with a mistake in it is used.

mod check;
mod document;
mod error;
mod keys;
mod layer;
mod listen;
mod sources;

use std::ffi::OsString;
use std::path::PathBuf;

pub use error::{ConfigError, Origin};
pub use keys::{
    Config, ControlConfig, Drain, Limits, LogConfig, LogFormat, RawConfig, ScriptConfig, TlsConfig,
    WebConfig,
};
pub use listen::{ListenScheme, ListenUrl, ListenUrlError};
pub use sources::{DEFAULT_FILE, Sources};

use sources::Layers;

impl Config {
    /// Reads all sources, the environment of this process among them, and checks the outcome.
    ///
    /// Relative paths out of the config file are relative to its directory, and so are the
    /// defaults when there is such a file: deleting a line that holds the default changes nothing.
    /// Relative paths from the environment and from flags stay relative to the current directory.
    ///
    /// # Errors
    /// The first mistake found: a file that cannot be read, a key that does not exist, a value of
    /// the wrong type or out of its range, values that contradict each other.
    pub fn load(sources: &Sources) -> Result<Config, ConfigError> {
        Config::load_with(sources, std::env::vars_os())
    }

    /// [`Config::load`] with the environment handed in. Variables without `RELAY_` in front are
    /// passed over.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        sources: &Sources,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        let layers = Layers::collect(sources, environment)?;
        let mut config = layers.merge()?;
        resolve_paths(&mut config, &layers);
        check::check(&config, &layers)?;
        Ok(config)
    }
}

/// Puts the config file's directory in front of the relative paths that come from it.
fn resolve_paths(config: &mut Config, layers: &Layers) {
    let Some(directory) = layers.file_directory() else {
        return;
    };
    let paths: [(&[&str], &mut PathBuf); 5] = [
        (&["script", "file"], &mut config.script.file),
        (&["control", "socket"], &mut config.control.socket),
        (&["tls", "certificate"], &mut config.tls.certificate),
        (&["tls", "key"], &mut config.tls.key),
        (&["tls", "directory"], &mut config.tls.directory),
    ];
    for (key, path) in paths {
        let in_file = matches!(layers.origin_of(key), Origin::File { .. } | Origin::Default);
        // An empty path says "none" and must not become a directory.
        if in_file && !path.as_os_str().is_empty() {
            *path = directory.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests;
