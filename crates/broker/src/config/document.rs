//! TOML files, read without a word of theirs in an error.

use std::{fs, path::Path};

use figment::{
    providers::{Format, Toml},
    value::Dict,
};

use super::ConfigError;

/// Reads a TOML file. The error for one that is not valid tells the place and shows nothing of the line, which may hold
/// a secret.
pub(crate) fn read_toml(path: &Path) -> Result<Dict, ConfigError> {
    let text = fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    Toml::from_str(&text).map_err(|error| {
        let what = error.message().replace('\n', ", ");
        let place = error.span().and_then(|span| text.get(..span.start)).map(|before| {
            let line = before.rsplit('\n').next().unwrap_or_default();
            format!("line {}, column {}: ", before.matches('\n').count() + 1, line.chars().count() + 1)
        });
        ConfigError::Syntax { path: path.to_owned(), message: place.unwrap_or_default() + &what }
    })
}
