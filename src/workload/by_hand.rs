//! A model from a handful of numbers, for those whose configuration is not at hand.

use super::{Activation, Attention, Block, Blocks, Decoder, Dense, Grouped, Layout, Mlp, Model, Norm, Positions, QkNorm};
use crate::error::{Error, Result};

/// What is known of a model. Layers, width and heads are needed, and either the MLP's width or the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shape {
    /// Billions of parameters (`--params-billion`).
    pub params_billion: Option<f64>,
    /// Layers (`--layers`).
    pub layers: Option<u64>,
    /// Width of the residual stream (`--hidden`).
    pub hidden: Option<u64>,
    /// Query heads (`--heads`).
    pub heads: Option<u64>,
    /// Key and value heads (`--kv-heads`); absent: as many as query heads.
    pub kv_heads: Option<u64>,
    /// Features of a head (`--head-dim`); absent: the width over the heads.
    pub head_dim: Option<u64>,
    /// Rows of the embedding table (`--vocab`); absent: 152,064, as the written guide's calculator has it.
    pub vocab: Option<u64>,
    /// Width inside the MLP (`--ffn`); absent: what makes the parameters come out.
    pub ffn: Option<u64>,
}

/// The vocabulary of the written guide's calculator.
const VOCAB: u64 = 152_064;
/// Larger than any dimension.
const LARGEST: u64 = 1 << 24;
/// By how much a stated number of parameters may be off what the shape makes: it may be rounded, or count a vision tower.
const SLACK: f64 = 1.5;

impl Model {
    /// A decoder of today's usual kind (RMS norms, rotary positions, a gated SiLU MLP, a head of its own, no biases) with these numbers.
    ///
    /// The shape decides, and parameters are counted from it: `params_billion` fills in the MLP's width where that is not given, to the
    /// nearest whole one, so that the count is as stated to within half a column of three matrices per layer. Where the shape is complete,
    /// `params_billion` is only checked against it (it is usually rounded, and may count a vision tower): within a factor of 1.5.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the option that is missing, out of bounds or at odds with the others.
    pub fn by_hand(given: Shape) -> Result<Self> {
        let need = |name: &str, value: Option<u64>| value.ok_or_else(|| wrong(format!("expected {name} N but it is missing")));
        let layers = within("--layers", need("--layers", given.layers)?)?;
        let hidden = within("--hidden", need("--hidden", given.hidden)?)?;
        let heads = within("--heads", need("--heads", given.heads)?)?;
        let kv_heads = within("--kv-heads", given.kv_heads.unwrap_or(heads))?;
        let vocab = within("--vocab", given.vocab.unwrap_or(VOCAB))?;
        let head_dim = match given.head_dim {
            Some(head_dim) => within("--head-dim", head_dim)?,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(wrong(format!("expected --hidden to be a multiple of --heads {heads} but found {hidden}; give --head-dim")));
            }
        };
        let stated = match given.params_billion {
            Some(billions) if billions.is_finite() && billions > 0.0 && billions <= 1e6 => Some(billions * 1e9),
            Some(billions) => return Err(wrong(format!("expected --params-billion of more than 0 to 1000000 but found {billions}"))),
            None => None,
        };
        let build = |ffn| {
            let attention = Attention::Grouped(Grouped {
                heads,
                kv_heads,
                head_dim,
                fused: false,
                qkv_bias: false,
                output_bias: false,
                qk_norm: QkNorm::None,
                window: None,
                softcap: false,
            });
            let mlp = Mlp::Dense(Dense { ffn, gated: true, fused: false, bias: false, activation: Activation::Silu });
            let block = Block { attention, mlp, norm: Norm::Rms, layout: Layout::Pre, layer_scale: false };
            Self {
                name: "given by hand".to_owned(),
                architecture: "by_hand".to_owned(),
                text: Decoder {
                    hidden,
                    vocab,
                    tied: false,
                    positions: Positions::Rotary,
                    final_norm: Norm::Rms,
                    head_bias: false,
                    logit_softcap: false,
                    scaled_embedding: false,
                    blocks: vec![Blocks { count: layers, block }],
                    unused_parameters: 0,
                },
                vision: None,
            }
            .check()
        };
        if let Some(ffn) = given.ffn {
            let model = build(within("--ffn", ffn)?)?;
            let counted = model.parameters() as f64;
            return match stated {
                Some(stated) if !(counted / SLACK..=counted * SLACK).contains(&stated) => Err(wrong(format!(
                    "expected --params-billion to be about the {:.2} that the shape makes but found {}; leave one of them out",
                    counted / 1e9,
                    stated / 1e9
                ))),
                _ => Ok(model),
            };
        }
        let stated = stated.ok_or_else(|| wrong("expected --ffn N, or --params-billion to find it from, but both are missing"))?;
        let smallest = build(1)?;
        // Each column of the MLP is one in three matrices of every layer.
        let column = 3.0 * hidden as f64 * layers as f64;
        let ffn = ((stated - smallest.parameters() as f64) / column).round() + 1.0;
        if !(1.0..=LARGEST as f64).contains(&ffn) {
            return Err(wrong(format!(
                "expected --params-billion of at least the {:.2} of the shape without its MLP, and not far more, but found {}",
                smallest.parameters() as f64 / 1e9,
                stated / 1e9
            )));
        }
        build(ffn as u64)
    }
}

fn wrong(what: impl std::fmt::Display) -> Error {
    Error::usage(format!("model given by hand: {what}"))
}

fn within(name: &str, value: u64) -> Result<u64> {
    if (1..=LARGEST).contains(&value) { Ok(value) } else { Err(wrong(format!("expected {name} of 1 to {LARGEST} but found {value}"))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MISTRAL: Shape = Shape {
        params_billion: None,
        layers: Some(32),
        hidden: Some(4096),
        heads: Some(32),
        kv_heads: Some(8),
        head_dim: Some(128),
        vocab: Some(32000),
        ffn: Some(14336),
    };

    #[test]
    fn a_complete_shape_is_counted() {
        assert_eq!(Model::by_hand(MISTRAL).unwrap().parameters(), 7_241_732_096);
        // A rounded number of parameters changes nothing.
        assert_eq!(Model::by_hand(Shape { params_billion: Some(7.0), ..MISTRAL }).unwrap().parameters(), 7_241_732_096);
        let wide = Model::by_hand(Shape { kv_heads: None, head_dim: None, ..MISTRAL }).unwrap();
        assert_eq!((wide.dimensions().kv_heads, wide.dimensions().head_dim), (32, 128));
    }

    #[test]
    fn the_mlps_width_follows_from_the_parameters() {
        let model = Model::by_hand(Shape { ffn: None, params_billion: Some(7.241_732_096), ..MISTRAL }).unwrap();
        assert_eq!(model.dimensions().ffn, 14336);
        // The guide's calculator gives neither width nor vocabulary.
        let guide = Shape {
            params_billion: Some(7.07),
            layers: Some(28),
            hidden: Some(3584),
            heads: Some(28),
            kv_heads: Some(4),
            ..Shape::default()
        };
        let model = Model::by_hand(guide).unwrap();
        assert!((model.parameters() as f64 / 7.07e9 - 1.0).abs() < 1e-4 && model.text.vocab == 152_064);
    }

    #[test]
    fn what_is_missing_or_at_odds_is_named() {
        for (given, said) in [
            (Shape::default(), "expected --layers N but it is missing"),
            (Shape { ffn: None, ..MISTRAL }, "expected --ffn N, or --params-billion to find it from"),
            (Shape { heads: Some(0), ..MISTRAL }, "expected --heads of 1 to 16777216 but found 0"),
            (Shape { hidden: Some(u64::MAX), ..MISTRAL }, "expected --hidden of 1 to 16777216"),
            (Shape { kv_heads: Some(5), ..MISTRAL }, "key-value heads that divide the 32 heads but found 5"),
            (Shape { hidden: Some(4097), head_dim: None, ..MISTRAL }, "give --head-dim"),
            (Shape { params_billion: Some(70.0), ..MISTRAL }, "to be about the 7.24 that the shape makes but found 70"),
            (Shape { params_billion: Some(0.5), ffn: None, ..MISTRAL }, "of the shape without its MLP"),
            (Shape { params_billion: Some(f64::NAN), ffn: None, ..MISTRAL }, "--params-billion of more than 0"),
        ] {
            let text = Model::by_hand(given).unwrap_err().to_string();
            assert!(text.contains(said), "{text}\nexpected {said}");
        }
    }

    proptest! {
        #[test]
        fn any_numbers_are_an_error_or_a_sound_model(
            numbers in proptest::array::uniform7(proptest::option::of(prop_oneof![0_u64..300, 1_u64 << 10..1 << 17, any::<u64>()])),
            params_billion in proptest::option::of(prop_oneof![0.0..1000.0_f64, any::<f64>()]),
        ) {
            let [layers, hidden, heads, kv_heads, head_dim, vocab, ffn] = numbers;
            match Model::by_hand(Shape { params_billion, layers, hidden, heads, kv_heads, head_dim, vocab, ffn }) {
                Err(error) => prop_assert_eq!(error.to_string().lines().count(), 1),
                Ok(model) => {
                    let total = model.breakdown().iter().map(|(_, parameters)| parameters).sum::<u64>();
                    prop_assert_eq!(total, model.parameters());
                    if let (None, Some(billions)) = (ffn, params_billion) {
                        let column = 3 * model.text.hidden * model.text.layers();
                        prop_assert!((total as f64 - billions * 1e9).abs() <= column as f64);
                    }
                }
            }
        }
    }
}
