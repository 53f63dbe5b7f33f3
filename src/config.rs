//! What the operator may say: built-in defaults, then `relay.toml`, then `RELAY_` variables of the
//! environment, then flags; the later one wins. A mistake in any of them is one readable message
//! ([`ConfigError`]), and nothing of a config with a mistake in it is used.

mod check;
mod cidr;
mod document;
mod error;
mod feedback;
mod health;
mod keys;
mod layer;
mod list;
mod listen;
mod restart;
mod sources;

use std::ffi::OsString;
use std::path::PathBuf;

pub use cidr::{Cidr, CidrError, Cidrs};
pub use error::{ConfigError, Origin};
pub use feedback::FeedbackConfig;
pub use health::HealthConfig;
pub use keys::{
    Config, ControlConfig, Drain, Limits, LogConfig, LogFormat, PairConfig, RawConfig,
    ScriptConfig, StoreConfig, TlsConfig, WebConfig,
};
pub use listen::{ListenAt, ListenScheme, ListenUrl, ListenUrlError, Listening};
pub use restart::RESTART;
pub use sources::{DEFAULT_FILE, Sources, strangers};

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
    /// passed over, and so are [`strangers`].
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with(
        sources: &Sources,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, ConfigError> {
        let Examined { config, mut mistakes, .. } = Config::examine(sources, environment);
        match (mistakes.is_empty(), config) {
            (true, Some(config)) => Ok(config),
            _ => Err(mistakes.swap_remove(0)),
        }
    }

    /// Reads all sources as [`Config::load_with`] does, and does not stop at the first mistake.
    pub fn examine(
        sources: &Sources,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Examined {
        let broken = |mistakes| Examined { config: None, mistakes, layers: None };
        let (layers, mut mistakes) = match Layers::collect(sources, environment) {
            Ok(collected) => collected,
            Err(mistake) => return broken(vec![mistake]),
        };
        let mut config = match layers.merge() {
            Ok(config) => config,
            Err(mistake) => {
                mistakes.push(mistake);
                return broken(mistakes);
            }
        };
        resolve_paths(&mut config, &layers);
        mistakes.extend(check::check(&config, &layers));
        Examined { config: Some(config), mistakes, layers: Some(layers) }
    }
}

/// A config as far as it can be read, with all that is wrong with it.
pub struct Examined {
    /// What is right of it, with defaults for the rest; `None` where nothing can be said. Without
    /// one there is a mistake.
    pub config: Option<Config>,
    pub mistakes: Vec<ConfigError>,
    layers: Option<Layers>,
}

impl Examined {
    /// Where the value of a dotted key was given.
    pub fn origin_of(&self, key: &str) -> Origin {
        let path: Vec<&str> = key.split('.').collect();
        self.layers.as_ref().map_or(Origin::Default, |layers| layers.origin_of(&path))
    }
}

/// Puts the config file's directory in front of the relative paths that come from it.
fn resolve_paths(config: &mut Config, layers: &Layers) {
    let Some(directory) = layers.file_directory() else {
        return;
    };
    let tls = &mut config.tls;
    let mut paths: Vec<(&[&str], &mut PathBuf)> = vec![
        (&["script", "file"], &mut config.script.file),
        (&["control", "socket"], &mut config.control.socket),
        (&["tls", "certificate"], &mut tls.certificate),
        (&["tls", "key"], &mut tls.key),
        (&["tls", "client_ca"], &mut tls.client_ca),
        (&["tls", "directory"], &mut tls.directory),
    ];
    let more = tls.more.iter_mut().flat_map(|pair| [&mut pair.certificate, &mut pair.key]);
    paths.extend(more.map(|path| (&["tls", "more"] as &[&str], path)));
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
