//! Reading one field of a configuration: present or absent, of the right type, within bounds.
//!
//! Every number is bounded here, before anything is computed with it. `null` counts as absent, as it does where these files are written. A
//! field is named in errors with its path (`text_config.hidden_size`), so that the reader of the message finds it in the file.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Largest value of any single dimension: no model comes near, and products of two, times a count, stay far below 2⁶³.
pub(super) const LARGEST: u64 = 1 << 24;
/// Most layers of a decoder or tower: lists are made of them.
const MOST_LAYERS: u64 = 1 << 14;
/// Longest text repeated in an error.
const SHOWN: usize = 40;

/// One object of a configuration file.
#[derive(Clone)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// The model's name, for errors.
    model: &'a str,
    /// Where in the file this object is, with a dot at its end; empty at the top.
    path: String,
    /// Whether the family's own sizes stand in for absent ones. Wrappers rely on that (a `text_config` may hold nothing but a `model_type`); at
    /// the top of a file an absent size is a damaged file.
    lenient: bool,
}

impl<'a> Fields<'a> {
    /// The whole file.
    pub(super) fn top(model: &'a str, value: &'a Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { map, model, path: String::new(), lenient: false }),
            other => Err(Error::usage(format!("model {model}: expected a JSON object of configuration fields but found {}", kind(other)))),
        }
    }

    /// The same object with absent sizes left to its family.
    pub(super) fn leniently(self) -> Self {
        Self { lenient: true, ..self }
    }

    /// An error about this file.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::usage(format!("model {}: {what}", self.model))
    }

    /// The error for a field that is not as expected.
    pub(super) fn unlike(&self, name: &str, expected: &str, found: impl std::fmt::Display) -> Error {
        self.wrong(format!("expected `{}{name}` to be {expected} but found {found}", self.path))
    }

    /// A field's value under the first of its names that is present.
    fn find<'n>(&self, names: &[&'n str]) -> Option<(&'n str, &'a Value)> {
        names.iter().find_map(|name| self.map.get(*name).filter(|value| !value.is_null()).map(|value| (*name, value)))
    }

    /// Whether a field is there, under any of its names, `null` included.
    pub(super) fn mentions(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    fn integer(&self, names: &[&str], least: u64, most: u64) -> Result<Option<u64>> {
        let Some((name, value)) = self.find(names) else { return Ok(None) };
        match whole(value).filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.unlike(name, &format!("a whole number of {least} to {most}"), shown(value))),
        }
    }

    /// A size of at least 1, if given.
    pub(super) fn given(&self, names: &[&str]) -> Result<Option<u64>> {
        self.integer(names, 1, LARGEST)
    }

    /// A size of at least 1, or the family's.
    pub(super) fn size_or(&self, names: &[&str], family: u64) -> Result<u64> {
        Ok(self.given(names)?.unwrap_or(family))
    }

    /// A size that only a wrapper's nested configuration may leave to the family.
    pub(super) fn size(&self, names: &[&str], family: u64) -> Result<u64> {
        match self.given(names)? {
            Some(size) => Ok(size),
            None if self.lenient => Ok(family),
            None => Err(self.missing(names)),
        }
    }

    /// Layers; like [`Self::size`], with a smaller bound.
    pub(super) fn layers(&self, names: &[&str], family: u64) -> Result<u64> {
        match self.integer(names, 1, MOST_LAYERS)? {
            Some(layers) => Ok(layers),
            None if self.lenient => Ok(family),
            None => Err(self.missing(names)),
        }
    }

    fn missing(&self, names: &[&str]) -> Error {
        self.wrong(format!("expected `{}{}`, a whole number of at least 1, but it is missing", self.path, names.first().unwrap_or(&"")))
    }

    /// A count that may be 0.
    pub(super) fn count_or(&self, names: &[&str], family: u64) -> Result<u64> {
        Ok(self.integer(names, 0, LARGEST)?.unwrap_or(family))
    }

    /// A yes or no.
    pub(super) fn flag_or(&self, names: &[&str], family: bool) -> Result<bool> {
        match self.find(names) {
            None => Ok(family),
            Some((_, Value::Bool(flag))) => Ok(*flag),
            Some((name, other)) => Err(self.unlike(name, "true or false", shown(other))),
        }
    }

    /// A word.
    pub(super) fn text(&self, names: &[&str]) -> Result<Option<&'a str>> {
        match self.find(names) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text)),
            Some((name, other)) => Err(self.unlike(name, "a text", shown(other))),
        }
    }

    /// A number that is not a dimension: whether it is given and not zero (a soft cap, a multiplier).
    pub(super) fn positive_or(&self, names: &[&str], family: bool) -> Result<bool> {
        match self.find(names) {
            None => Ok(family),
            Some((name, value)) => match value.as_f64() {
                Some(number) if number.is_finite() && number >= 0.0 => Ok(number > 0.0),
                _ => Err(self.unlike(name, "a number that is not negative", shown(value))),
            },
        }
    }

    /// A ratio of two widths, within 1/64 to 64.
    pub(super) fn ratio_or(&self, names: &[&str], family: f64) -> Result<f64> {
        match self.find(names) {
            None => Ok(family),
            Some((name, value)) => value
                .as_f64()
                .filter(|ratio| (1.0 / 64.0..=64.0).contains(ratio))
                .ok_or_else(|| self.unlike(name, "a number of 1/64 to 64", shown(value))),
        }
    }

    /// A list of words, one for each layer.
    pub(super) fn kinds(&self, name: &str, layers: u64) -> Result<Option<Vec<&'a str>>> {
        let Some((_, value)) = self.find(&[name]) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| self.unlike(name, "a list of texts", shown(value)))?;
        if list.len() as u64 != layers {
            return Err(self.unlike(name, &format!("a list of {layers} texts, one for each layer,"), format!("{} of them", list.len())));
        }
        let texts = list.iter().map(|item| item.as_str().ok_or_else(|| self.unlike(name, "a list of texts", shown(item))));
        texts.collect::<Result<Vec<_>>>().map(Some)
    }

    /// A list of layers by number, as a yes or no for each of `layers`.
    pub(super) fn marked(&self, name: &str, layers: u64) -> Result<Option<Vec<bool>>> {
        let Some((_, value)) = self.find(&[name]) else { return Ok(None) };
        let list = value.as_array().ok_or_else(|| self.unlike(name, "a list of numbers", shown(value)))?;
        let mut marks = vec![false; usize::try_from(layers).unwrap_or(0)];
        for item in list {
            let mark = whole(item).and_then(|number| usize::try_from(number).ok()).and_then(|number| marks.get_mut(number));
            *mark.ok_or_else(|| self.unlike(name, &format!("a list of layers below {layers}"), shown(item)))? = true;
        }
        Ok(Some(marks))
    }

    /// A nested object; the sizes it does not give are its family's.
    pub(super) fn nested(&self, names: &[&str]) -> Result<Self> {
        self.maybe_nested(names)?.ok_or_else(|| {
            let name = names.first().unwrap_or(&"");
            self.wrong(format!("expected `{}{name}`, an object of configuration fields, but it is missing", self.path))
        })
    }

    /// The same, where it is given.
    pub(super) fn maybe_nested(&self, names: &[&str]) -> Result<Option<Self>> {
        match self.find(names) {
            None => Ok(None),
            Some((name, Value::Object(map))) => {
                Ok(Some(Self { map, model: self.model, path: format!("{}{name}.", self.path), lenient: true }))
            }
            Some((name, other)) => Err(self.unlike(name, "an object of configuration fields", shown(other))),
        }
    }

    /// The model's name, for errors.
    pub(super) const fn model(&self) -> &'a str {
        self.model
    }
}

/// A whole number, also when written `4096.0`.
fn whole(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..=LARGEST as f64).contains(number)).map(|n| n as u64))
}

/// A value as an error shows it: short, and never a nested one.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let cut: String = text.chars().take(SHOWN).collect();
            let more = if cut.len() < text.len() { "…" } else { "" };
            format!("the text {cut:?}{more}")
        }
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        other => kind(other).to_owned(),
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
