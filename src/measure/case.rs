//! Case ids: a probe's mechanism and one point on its axes, as text that parses back.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::units::Bytes;

/// A probe's mechanism and one point on its axes: `dram.triad/bytes=4GiB,gpu=0`.
///
/// The display is the id in result files and on the command line, and parses back to an equal case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Case {
    mechanism: String,
    axes: Vec<(String, Value)>,
}

/// A coordinate on an axis.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// A size, shown with its unit.
    Bytes(Bytes),
    /// A plain count or number, such as a GPU's index or a matrix dimension.
    Count(u64),
    /// A name of lower-case letters, digits, `_`, `-` and `.` that starts with a letter.
    Word(String),
}

/// Why a text is not a case id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a case such as dram.read/bytes=4GiB,gpu=0 but found {found:?}: {why}")]
pub struct ParseCaseError {
    found: String,
    why: &'static str,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.'))
}

impl Case {
    /// A case of `mechanism` (`family.mechanism`, lower case) without axes yet.
    pub fn new(mechanism: &str) -> Self {
        debug_assert!(is_name(mechanism), "mechanism {mechanism:?}");
        Self { mechanism: mechanism.to_owned(), axes: Vec::new() }
    }

    /// The same case at `bytes` on the axis `name`.
    #[must_use]
    pub fn bytes(self, name: &str, bytes: Bytes) -> Self {
        self.axis(name, Value::Bytes(bytes))
    }

    /// The same case at `count` on the axis `name`.
    #[must_use]
    pub fn count(self, name: &str, count: u64) -> Self {
        self.axis(name, Value::Count(count))
    }

    /// The same case at `word` on the axis `name`.
    #[must_use]
    pub fn word(self, name: &str, word: &str) -> Self {
        debug_assert!(is_name(word), "axis value {word:?}");
        self.axis(name, Value::Word(word.to_owned()))
    }

    fn axis(mut self, name: &str, value: Value) -> Self {
        debug_assert!(is_name(name) && self.get(name).is_none(), "axis {name:?}");
        self.axes.push((name.to_owned(), value));
        self
    }

    /// `family.mechanism`, such as `dram.triad`.
    pub fn mechanism(&self) -> &str {
        &self.mechanism
    }

    /// The probe that owns this case: the mechanism up to the first dot.
    pub fn family(&self) -> &str {
        self.mechanism.split('.').next().unwrap_or(&self.mechanism)
    }

    /// The axes in order.
    pub fn axes(&self) -> &[(String, Value)] {
        &self.axes
    }

    /// The coordinate on the axis `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value)
    }

    /// The count on the axis `name`, if it is one.
    pub fn get_count(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Count(count) => Some(*count),
            _ => None,
        }
    }

    /// The size on the axis `name`, if it is one.
    pub fn get_bytes(&self, name: &str) -> Option<Bytes> {
        match self.get(name)? {
            Value::Bytes(bytes) => Some(*bytes),
            _ => None,
        }
    }

    /// The word on the axis `name`, if it is one.
    pub fn get_word(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Word(word) => Some(word),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mechanism)?;
        for (index, (name, value)) in self.axes.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '/' } else { ',' })?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = ParseCaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |why| ParseCaseError { found: text.chars().take(200).collect(), why };
        let (mechanism, axes) = match text.split_once('/') {
            Some((mechanism, axes)) => (mechanism, Some(axes)),
            None => (text, None),
        };
        if !is_name(mechanism) {
            return Err(error("the mechanism is not a lower-case name"));
        }
        let mut case = Self { mechanism: mechanism.to_owned(), axes: Vec::new() };
        for part in axes.map(|axes| axes.split(',')).into_iter().flatten() {
            let (name, value) = part.split_once('=').ok_or_else(|| error("an axis is not name=value"))?;
            if !is_name(name) {
                return Err(error("an axis has no lower-case name"));
            }
            if case.get(name).is_some() {
                return Err(error("an axis is named twice"));
            }
            let value = if is_name(value) {
                Value::Word(value.to_owned())
            } else if let Ok(count) = value.parse() {
                Value::Count(count)
            } else {
                Value::Bytes(value.parse().map_err(|_| error("an axis value is neither a name, a count nor a size"))?)
            };
            case.axes.push((name.to_owned(), value));
        }
        Ok(case)
    }
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Case {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Case {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Case".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A case id, such as dram.triad/bytes=4GiB,gpu=0",
            "pattern": "^[a-z][a-z0-9_.-]*(/[a-z][a-z0-9_.-]*=[^,=/]+(,[a-z][a-z0-9_.-]*=[^,=/]+)*)?$"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_reads_as_it_is_written() {
        let case = Case::new("dram.triad").bytes("bytes", Bytes::gib(4)).count("gpu", 0);
        assert_eq!(case.to_string(), "dram.triad/bytes=4GiB,gpu=0");
    }

    #[test]
    fn ids_parse_back() {
        let case = Case::new("copy.h2d").bytes("bytes", Bytes::mib(64)).word("memory", "pinned").count("gpu", 3);
        assert_eq!(case.to_string(), "copy.h2d/bytes=64MiB,memory=pinned,gpu=3");
        assert_eq!(case.to_string().parse(), Ok(case.clone()));
        assert_eq!(case.family(), "copy");
        assert_eq!(case.get_count("gpu"), Some(3));
        assert_eq!(case.get_word("memory"), Some("pinned"));
        assert_eq!(case.get_bytes("bytes"), Some(Bytes::mib(64)));
        assert_eq!(case.get_count("bytes"), None);
    }

    #[test]
    fn what_is_not_an_id_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "the mechanism is not a lower-case name"),
            ("dram.read/bytes", "an axis is not name=value"),
            ("dram.read/bytes=4GiB,bytes=1", "an axis is named twice"),
            ("dram.read/=4", "an axis has no lower-case name"),
            ("dram.read/a=-4", "an axis value is neither a name, a count nor a size"),
        ] {
            let error = text.parse::<Case>().unwrap_err();
            assert_eq!(error.why, why, "{text}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<u64>().prop_map(|n| Value::Bytes(Bytes(n))),
            any::<u64>().prop_map(Value::Count),
            "[a-z][a-z0-9_.-]{0,8}".prop_map(Value::Word),
        ]
    }

    proptest! {
        #[test]
        fn every_case_parses_back(
            mechanism in "[a-z][a-z0-9_.-]{0,12}",
            axes in proptest::collection::btree_map("[a-z][a-z0-9_]{0,6}", any_value(), 0..5),
        ) {
            let case = Case { mechanism, axes: axes.into_iter().collect() };
            prop_assert_eq!(case.to_string().parse(), Ok(case));
        }

        #[test]
        fn parsing_never_panics(text in ".{0,64}") {
            let _ = text.parse::<Case>();
        }
    }
}
