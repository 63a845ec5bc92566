//! What was paid for: `H100 SXM`, `8x"H200 SXM"`, `aws:p5.48xlarge`.

use crate::catalog::{Catalog, GpuModel, Instance};
use crate::error::{Error, Result};

/// What a machine is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation<'a> {
    /// As the user wrote it.
    pub text: String,
    /// The GPU model.
    pub model: &'a GpuModel,
    /// How many of them; `None`: as many as there are.
    pub count: Option<u32>,
    /// The cloud's instance, where one was named.
    pub instance: Option<&'a Instance>,
}

impl<'a> Expectation<'a> {
    /// The machine that `spec` means: a GPU model, how many of one (`8x…`), or a cloud's instance (`PROVIDER:TYPE`).
    ///
    /// # Errors
    /// [`Error::Usage`] when the catalog does not know it, with what is near, and for a count of none.
    pub fn parse(spec: &str, catalog: &'a Catalog) -> Result<Self> {
        let text = spec.trim().to_owned();
        if spec.contains(':') {
            let instance = catalog.instance(&text)?;
            return Ok(Self { model: catalog.gpu_of(instance)?, count: Some(instance.gpus), instance: Some(instance), text });
        }
        let (count, name) = counted(&text);
        let count =
            count.map(str::parse::<u32>).transpose().ok().filter(|count| *count != Some(0)).filter(|count| count.is_none_or(|n| n <= 1024));
        let Some(count) = count else {
            return Err(Error::usage(format!("--expect {spec:?}: expected 1 to 1024 GPUs, as in 8x\"H100 SXM\"")));
        };
        Ok(Self { model: catalog.gpu(name)?, count, instance: None, text })
    }
}

/// Splits `8x"H100 SXM"` into its count and its name; quotes may have been eaten by the shell or not.
fn counted(text: &str) -> (Option<&str>, &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text[digits..].trim_start();
    let name = rest.strip_prefix(['x', 'X', '×', '*']).map(str::trim);
    match name {
        Some(name) if digits > 0 && !name.is_empty() => (Some(&text[..digits]), unquoted(name)),
        _ => (None, unquoted(text)),
    }
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '\'']).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(spec: &str) -> Result<(String, Option<u32>, bool)> {
        let catalog = Catalog::embedded().unwrap();
        let expectation = Expectation::parse(spec, &catalog)?;
        Ok((expectation.model.short_name.clone(), expectation.count, expectation.instance.is_some()))
    }

    #[test]
    fn every_form_of_the_contract_is_understood() {
        for (spec, name, count, instance) in [
            ("H100 SXM", "H100 SXM", None, false),
            ("8x\"H200 SXM\"", "H200 SXM", Some(8), false),
            ("8xH200 SXM", "H200 SXM", Some(8), false),
            (" 2 × RTX 4090", "RTX 4090", Some(2), false),
            ("RTX 3090", "RTX 3090", None, false),
            ("3090", "RTX 3090", None, false),
            ("aws:p5.48xlarge", "H100 SXM", Some(8), true),
        ] {
            assert_eq!(parsed(spec).unwrap(), (name.to_owned(), count, instance), "{spec}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_remedy() {
        for (spec, told) in [
            ("0xH100 SXM", "1 to 1024"),
            ("99999999999x H100 SXM", "1 to 1024"),
            ("H1000", "nearest"),
            ("aws:p99", "nearest"),
            ("", "no GPU"),
        ] {
            let error = parsed(spec).unwrap_err();
            assert!(error.to_string().contains(told) && error.exit_code() == 2, "{spec}: {error}");
        }
    }
}
