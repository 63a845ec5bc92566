//! What models are called, and the configuration each comes with.

use serde::Deserialize;

use super::gpu::Confidence;

/// One model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// Its usual name, as on its card: `Qwen2-VL-7B`.
    pub name: String,
    /// The repository of its weights on Hugging Face: `Qwen/Qwen2-VL-7B-Instruct`.
    pub repository: Option<String>,
    /// Other names people type.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The fields of its `config.json` that its shape follows from, in that file's own names.
    config: serde_json::Map<String, serde_json::Value>,
    /// Fields that are `null` there, which TOML cannot say and which is not the same as absent.
    #[serde(default)]
    null: Vec<String>,
    /// All parameters of its weights, where a source states them to the last one. What [`config`](Self::config) gives must equal it.
    pub parameters: Option<u64>,
    /// Where the configuration and the total are from.
    pub source: String,
    /// When that was looked up, `YYYY-MM-DD`.
    pub date: String,
    /// How well it is attested.
    pub confidence: Confidence,
    /// The written guide's own numbers, where it has any.
    pub guide: Option<GuideShape>,
}

/// A model as the written guide's calculator has it, right or wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuideShape {
    /// The guide's name for it.
    pub name: String,
    /// Billions of parameters.
    pub params_billion: f64,
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Features of a head.
    pub head_dim: u64,
}

impl ModelRow {
    /// The fields of its `config.json` that its shape follows from.
    pub fn config(&self) -> serde_json::Value {
        let mut config = self.config.clone();
        config.extend(self.null.iter().map(|name| (name.clone(), serde_json::Value::Null)));
        serde_json::Value::Object(config)
    }

    /// The family its configuration names.
    pub fn family(&self) -> &str {
        self.config.get("model_type").and_then(serde_json::Value::as_str).unwrap_or("")
    }

    /// Every name it goes by: its own, its repository, the repository without its owner, its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let repository = self.repository.as_deref();
        let bare = repository.and_then(|repository| repository.rsplit('/').next());
        std::iter::once(self.name.as_str()).chain(repository).chain(bare).chain(self.aliases.iter().map(String::as_str))
    }
}
