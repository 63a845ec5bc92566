//! Which model: by name, by its configuration file, or by hand.

use std::path::PathBuf;

use clap::Args;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::estimate::guide_formula;
use crate::workload::{Attention, Model, Shape, named};

#[derive(Debug, Args)]
pub(in crate::cli) struct ModelArguments {
    /// A model of the catalog, such as qwen2-vl-7b
    #[arg(long, value_name = "NAME")]
    model: Option<String>,

    /// A model's config.json from Hugging Face, or the folder it lies in
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten, next_help_heading = "A model by hand")]
    hand: Hand,
}

#[derive(Debug, Args, PartialEq)]
pub(in crate::cli) struct Hand {
    /// Parameters, in units of 10⁹
    #[arg(long, value_name = "N")]
    params_billion: Option<f64>,

    /// Layers
    #[arg(long, value_name = "N")]
    layers: Option<u64>,

    /// Width of the residual stream
    #[arg(long, value_name = "N")]
    hidden: Option<u64>,

    /// Query heads
    #[arg(long, value_name = "N")]
    heads: Option<u64>,

    /// Key and value heads [default: as many as query heads]
    #[arg(long, value_name = "N")]
    kv_heads: Option<u64>,

    /// Features of a head [default: hidden size / heads; for the guide's calculator 128]
    #[arg(long, value_name = "N")]
    head_dim: Option<u64>,

    /// Rows of the embedding table [default: 152064, as the guide's calculator has it]
    #[arg(long, value_name = "N")]
    vocab: Option<u64>,

    /// Width inside the feed-forward network [default: what makes the parameters come out]
    #[arg(long, value_name = "N")]
    ffn: Option<u64>,
}

const NOTHING: Hand =
    Hand { params_billion: None, layers: None, hidden: None, heads: None, kv_heads: None, head_dim: None, vocab: None, ffn: None };

impl ModelArguments {
    /// Whether a model of the catalog is meant.
    pub(in crate::cli) const fn is_named(&self) -> bool {
        self.model.is_some()
    }

    /// The model with all its shapes.
    pub(in crate::cli) fn exact(&self, catalog: &Catalog) -> Result<Model> {
        match (&self.model, &self.config, &self.hand) {
            (Some(name), None, &NOTHING) => named(catalog, name),
            (None, Some(path), &NOTHING) => Model::from_config_file(path),
            (None, None, &NOTHING) => Err(Error::usage(
                "no model was given; name one with --model, give its config.json with --config, or its shape by hand with --layers, --hidden, \
                 --heads, --vocab and --ffn",
            )),
            (None, None, hand) => hand.exact(),
            _ => Err(Error::usage("more than one model was given; choose one of --model, --config and a shape by hand")),
        }
    }

    /// The model as the guide's calculator takes it: the guide's own where it has one of that name.
    pub(in crate::cli) fn guide(&self, catalog: &Catalog) -> Result<guide_formula::Shape> {
        if self.model.is_none() && self.config.is_none() && self.hand != NOTHING {
            return self.hand.guide();
        }
        let model = self.exact(catalog)?;
        if self.model.is_some()
            && let Some(shape) = guide_formula::Shape::named(catalog, &model.name)
        {
            return Ok(shape);
        }
        let text = &model.text;
        let attention = text.blocks.first().map(|blocks| blocks.block.attention);
        let Some(Attention::Grouped(grouped)) = attention else {
            return Err(Error::usage(format!(
                "the guide's calculator has no latent attention, which {} uses; leave out --formula guide",
                model.name
            )));
        };
        Ok(guide_formula::Shape {
            params_billion: model.parameters() as f64 / 1e9,
            layers: text.layers(),
            hidden: text.hidden,
            kv_heads: grouped.kv_heads,
            head_dim: grouped.head_dim,
            name: model.name,
        })
    }
}

/// `value`, or an error that says which option is missing.
fn needed<T>(value: Option<T>, option: &str) -> Result<T> {
    value.ok_or_else(|| Error::usage(format!("model given by hand: expected {option} N but it is missing")))
}

impl Hand {
    fn exact(&self) -> Result<Model> {
        let &Self { params_billion, layers, hidden, heads, kv_heads, head_dim, vocab, ffn } = self;
        Model::by_hand(Shape { params_billion, layers, hidden, heads, kv_heads, head_dim, vocab, ffn })
    }

    fn guide(&self) -> Result<guide_formula::Shape> {
        /// What the guide's calculator assumes.
        const HEAD_DIM: u64 = 128;
        Ok(guide_formula::Shape {
            name: "given by hand".to_owned(),
            params_billion: needed(self.params_billion, "--params-billion")?,
            layers: needed(self.layers, "--layers")?,
            hidden: needed(self.hidden, "--hidden")?,
            kv_heads: needed(self.kv_heads.or(self.heads), "--heads")?,
            head_dim: self.head_dim.unwrap_or(HEAD_DIM),
        })
    }
}
