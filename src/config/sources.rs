//! All sources of the config, one above the other, and which of them a value came from.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::Serialized;
use figment::value::{Dict, Value};

use super::document::{Document, key_parts, value_of};
use super::error::{ConfigError, Origin, dotted, problem_of, shown};
use super::keys::Config;
use super::layer::{Layer, PREFIX, Place, defaults};

/// The config file that is read from the current directory when `--config` names none.
pub const DEFAULT_FILE: &str = "relay.toml";

/// Where a config is read from: the flags of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The config file, which must exist. `None`: [`DEFAULT_FILE`], if the current directory has
    /// it, else the defaults alone.
    pub config: Option<PathBuf>,
    /// Values that replace `listen`. Empty: leave it as it is.
    pub listen: Vec<String>,
    /// Replaces `script.file`.
    pub script: Option<PathBuf>,
    /// `key=value`: a dotted key, and a TOML value. What is no TOML value is taken as text.
    pub set: Vec<String>,
}

/// All sources above the built-in defaults, the weakest first.
pub struct Layers(Vec<Layer>);

impl Layers {
    /// Reads every source and checks each by itself. What is wrong is told and left out.
    ///
    /// # Errors
    /// The config file cannot be read: nothing could be said about the rest.
    pub fn collect(
        sources: &Sources,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<(Layers, Vec<ConfigError>), ConfigError> {
        let (mut layers, mut mistakes) = (Vec::new(), Vec::new());
        layers.extend(file(sources.config.as_deref())?);
        let flags = sources.set.iter().map(|text| set_flag(text));
        let script = sources.script.as_deref().map(script_flag);
        for layer in variables(environment).into_iter().chain(flags).chain(script) {
            match layer {
                Ok(layer) => layers.push(layer),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        layers.extend(listen_flags(&sources.listen));

        let defaults = defaults();
        layers.retain(|layer| layer.stranger(&defaults).is_none());
        layers.iter_mut().for_each(|layer| mistakes.extend(layer.prune(&defaults)));
        Ok((Layers(layers), mistakes))
    }

    /// The config that the layers make together.
    pub fn merge(&self) -> Result<Config, ConfigError> {
        let figment = Figment::from(Serialized::defaults(Config::default()));
        let figment = self.0.iter().fold(figment, |below, layer| below.merge(layer));
        figment.extract().map_err(|error| ConfigError {
            origin: self.origin_of(&error.path),
            key: Some(dotted(&error.path)),
            problem: problem_of(error.kind),
        })
    }

    /// Where the value at `path` was given; of several places the one that won.
    pub fn origin_of<S: AsRef<str>>(&self, path: &[S]) -> Origin {
        let holder = self.0.iter().rev().find(|layer| layer.holds(path));
        holder.map_or(Origin::Default, |layer| layer.origin_of(path))
    }

    /// The directory of the config file, if one was read.
    pub fn file_directory(&self) -> Option<&Path> {
        self.0.iter().find_map(|layer| layer.file_directory())
    }
}

/// The variables that begin as those of relay do and are none, with what is to be said of each.
pub fn strangers(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<ConfigError> {
    let defaults = defaults();
    let ours = variables(environment).into_iter().flatten();
    ours.filter_map(|layer| layer.stranger(&defaults)).collect()
}

fn file(named: Option<&Path>) -> Result<Option<Layer>, ConfigError> {
    let path = match named {
        Some(path) => path,
        // A link that leads nowhere is there too, and to pass over it would surprise.
        None if Path::new(DEFAULT_FILE).symlink_metadata().is_ok() => Path::new(DEFAULT_FILE),
        None => return Ok(None),
    };
    let document = Document::read(path)?;
    Ok(Some(Layer { values: document.values(), place: Place::File(Box::new(document)) }))
}

fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Vec<Result<Layer, ConfigError>> {
    let mut named: Vec<(String, OsString)> = environment
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // The order of the environment is arbitrary; the message about it should not be.
    named.sort();
    named.into_iter().map(|(name, value)| variable(name, &value)).collect()
}

fn variable(name: String, value: &OsStr) -> Result<Layer, ConfigError> {
    let path: Vec<String> =
        name[PREFIX.len()..].split("__").map(|part| part.to_ascii_lowercase()).collect();
    match value.to_str() {
        Some(text) => {
            Ok(Layer { values: nested(&path, parsed(text)), place: Place::Variable(name) })
        }
        None => Err(ConfigError {
            origin: Origin::Variable(name),
            key: Some(dotted(&path)),
            problem: "the value is not UTF-8".to_owned(),
        }),
    }
}

fn set_flag(text: &str) -> Result<Layer, ConfigError> {
    let flag = format!("--set {}", shown(text));
    let wrong = |problem: &str| ConfigError {
        origin: Origin::Flag(flag.clone()),
        key: None,
        problem: format!(
            "{problem}; write --set KEY=VALUE, as in --set limits.connections_max=500"
        ),
    };
    let (key, value) = text.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
    let path = key_parts(key).ok_or_else(|| wrong("what stands before `=` is no dotted key"))?;
    Ok(Layer { values: nested(&path, parsed(value)), place: Place::Flag(flag) })
}

fn script_flag(path: &Path) -> Result<Layer, ConfigError> {
    let flag = format!("--script {}", shown(&path.to_string_lossy()));
    let text = path.to_str().ok_or_else(|| ConfigError {
        origin: Origin::Flag(flag.clone()),
        key: Some("script.file".to_owned()),
        problem: "the path is not UTF-8".to_owned(),
    })?;
    let values = nested(&["script".to_owned(), "file".to_owned()], text.into());
    Ok(Layer { values, place: Place::Flag(flag) })
}

fn listen_flags(urls: &[String]) -> Option<Layer> {
    if urls.is_empty() {
        return None;
    }
    let values: Vec<Value> = urls.iter().map(|url| url.as_str().into()).collect();
    Some(Layer {
        values: nested(&["listen".to_owned()], values.into()),
        place: Place::Listen(urls.to_vec()),
    })
}

/// What an environment variable or a `--set` says: a TOML value, or else the text itself.
fn parsed(text: &str) -> Value {
    value_of(text).unwrap_or_else(|| text.into())
}

fn nested(path: &[String], value: Value) -> Dict {
    match path {
        [] => Dict::new(),
        [key] => Dict::from([(key.clone(), value)]),
        [key, rest @ ..] => Dict::from([(key.clone(), nested(rest, value).into())]),
    }
}
