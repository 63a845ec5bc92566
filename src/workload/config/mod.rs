//! A model from the `config.json` that comes with its weights on Hugging Face.
//!
//! Such a file says which **family** the model is of (`model_type`) and its sizes. What the family's code does with them (which products have
//! a bias, where norms stand, what an absent field means) is knowledge of this module: one file per group of related families. Fields it does
//! not know are ignored, since every release adds some; a family it does not know is an error, since a guess at its parameters would be wrong.
//!
//! The file comes from strangers. Its size, its depth and every number are bounded before they are used; see [`fields`].

mod deepseek;
mod experts;
mod fields;
mod fused;
mod gemma;
mod gpt;
mod llama;
mod parts;
mod towers;
mod vision;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use self::fields::Fields;
use super::{Decoder, Model};
use crate::error::{Error, Result};

/// Largest file read. Real ones have a few kilobytes; those that list a thousand labels, a few hundred.
const LARGEST_FILE: u64 = 8 << 20;

/// What reads a decoder of one family.
type Reader = fn(&Fields<'_>) -> Result<Decoder>;

/// Families of text models.
const TEXT: &[(&str, Reader)] = &[
    ("llama", llama::llama),
    ("mistral", llama::mistral),
    ("mixtral", experts::mixtral),
    ("qwen", fused::qwen),
    ("qwen2", llama::qwen2),
    ("qwen2_moe", experts::qwen2_moe),
    ("qwen3", llama::qwen3),
    ("qwen3_moe", experts::qwen3_moe),
    ("gemma", gemma::gemma),
    ("gemma2", gemma::gemma2),
    ("gemma3_text", gemma::gemma3),
    ("phi", gpt::phi),
    ("phi3", fused::phi3),
    ("gpt2", gpt::gpt2),
    ("gpt_neox", gpt::gpt_neox),
    ("mpt", gpt::mpt),
    ("falcon", gpt::falcon),
    ("olmo2", llama::olmo2),
    ("deepseek_v2", deepseek::v2),
    ("deepseek_v3", deepseek::v3),
    ("internlm2", fused::internlm2),
];

/// The decoder of a family.
fn text(fields: &Fields<'_>, family: &str) -> Result<Decoder> {
    match TEXT.iter().find(|(known, _)| *known == family) {
        Some((_, reader)) => reader(fields),
        None => Err(unknown(fields, family)),
    }
}

fn unknown(fields: &Fields<'_>, family: &str) -> Error {
    let shown: String = family.chars().take(40).collect();
    fields.wrong(format!(
        "the family {shown:?} is not known (known are {}); give the shape by hand: --params-billion --layers --hidden --heads --kv-heads \
         --head-dim --vocab --ffn",
        families()
    ))
}

impl Model {
    /// The model that a Hugging Face configuration describes.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the field that is missing, of the wrong type, out of bounds or at odds with another, or the family that is not
    /// known.
    pub fn from_config(name: &str, config: &Value) -> Result<Self> {
        let fields = Fields::top(name, config)?;
        let family = fields.text(&["model_type"])?.ok_or_else(|| {
            fields.wrong(format!("expected `model_type`, the model's family, but it is missing; known families are {}", families()))
        })?;
        let (text, vision) = match vision::FAMILIES.iter().find(|(known, _)| *known == family) {
            Some((_, reader)) => {
                let (text, vision) = reader(&fields)?;
                (text, Some(vision))
            }
            None => (text(&fields, family)?, None),
        };
        Self { name: name.to_owned(), architecture: family.to_owned(), text, vision }.check()
    }

    /// The same from the file's text.
    ///
    /// # Errors
    /// [`Error::Usage`] as [`Self::from_config`], and where the text is no JSON or more than 8 MiB of it.
    pub fn from_config_text(name: &str, text: &str) -> Result<Self> {
        if text.len() as u64 > LARGEST_FILE {
            return Err(Error::usage(format!(
                "model {name}: expected a configuration of at most {} MiB but found {} MiB",
                LARGEST_FILE >> 20,
                text.len() >> 20
            )));
        }
        let config: Value = serde_json::from_str(text)
            .map_err(|error| Error::usage(format!("model {name}: expected a config.json but its JSON is malformed: {error}")))?;
        Self::from_config(name, &config)
    }

    /// The same from a file, or from the `config.json` in a folder. The model is named after the file's folder.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read; [`Error::Usage`] as [`Self::from_config_text`].
    pub fn from_config_file(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
        let failed = |source| Error::File {
            doing: "reading",
            path: path.clone(),
            source,
            remedy: "give the config.json of a Hugging Face model, or the name of one in the catalog",
        };
        let mut text = String::new();
        // One byte more than is accepted, so that a longer file is told from one that fits, and an endless one ends.
        File::open(&path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_string(&mut text)).map_err(failed)?;
        Self::from_config_text(&name_of(&path), &text)
    }
}

/// What to call the model of a file: its folder, or the file where that has a name of its own.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("config");
    if stem != "config" {
        return stem.to_owned();
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or(stem).to_owned()
}

/// The families, for an error.
fn families() -> String {
    TEXT.iter().map(|(family, _)| *family).chain(vision::FAMILIES.iter().map(|(family, _)| *family)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
