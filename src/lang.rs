//! Two languages: English and Korean.
//!
//! A [`Text`] is written once in each where it is used; there is no catalogue of keys to keep in step. Numbers, units, case ids and product
//! names are the same in both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The language of tables and notes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Korean.
    Ko,
}

impl fmt::Display for Lang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::En => "en",
            Self::Ko => "ko",
        })
    }
}

impl FromStr for Lang {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "en" => Ok(Self::En),
            "ko" => Ok(Self::Ko),
            _ => Err(format!("expected en or ko but found {text:?}")),
        }
    }
}

/// A fixed text in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text {
    /// English.
    pub en: &'static str,
    /// Korean.
    pub ko: &'static str,
}

impl Text {
    /// A text from both versions.
    pub const fn new(en: &'static str, ko: &'static str) -> Self {
        Self { en, ko }
    }

    /// The version in `lang`.
    pub const fn get(self, lang: Lang) -> &'static str {
        match lang {
            Lang::En => self.en,
            Lang::Ko => self.ko,
        }
    }

    /// The version in `lang`, with each `{}` replaced by the next argument, left to right.
    pub fn fill(self, lang: Lang, arguments: &[&dyn fmt::Display]) -> String {
        let mut pieces = self.get(lang).split("{}");
        let mut filled = pieces.next().unwrap_or_default().to_owned();
        let mut arguments = arguments.iter();
        for piece in pieces {
            if let Some(argument) = arguments.next() {
                filled.push_str(&argument.to_string());
            }
            filled.push_str(piece);
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_parse_back() {
        for lang in [Lang::En, Lang::Ko] {
            assert_eq!(lang.to_string().parse(), Ok(lang));
        }
        assert_eq!("de".parse::<Lang>().unwrap_err(), r#"expected en or ko but found "de""#);
    }

    #[test]
    fn arguments_fill_in_order_and_a_missing_one_leaves_a_gap() {
        const TEXT: Text = Text::new("{} of {} cores", "{}/{} 코어");
        assert_eq!(TEXT.fill(Lang::En, &[&2, &8]), "2 of 8 cores");
        assert_eq!(TEXT.fill(Lang::Ko, &[&2]), "2/ 코어");
    }
}
