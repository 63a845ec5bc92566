//! Vision models: a tower, a projector, and a decoder of a family of its own.

use serde_json::Value;

use super::fields::Fields;
use super::{llama, text, towers};
use crate::error::Result;
use crate::workload::{Decoder, ImageInput, Linear, Role, Vision};

/// What reads a vision model of one family.
pub(super) type Reader = fn(&Fields<'_>) -> Result<(Decoder, Vision)>;

/// Families of vision models.
pub(super) const FAMILIES: &[(&str, Reader)] = &[
    ("llava", llava),
    ("llava_llama", llava_llama),
    ("qwen2_vl", qwen2_vl),
    ("qwen2_5_vl", qwen2_5_vl),
    ("internvl_chat", internvl_chat),
    ("gemma3", gemma3),
];

const fn projection(inputs: u64, outputs: u64, bias: bool) -> Linear {
    Linear::new(Role::Projector, inputs, outputs, bias)
}

/// The nested decoder. Whether its head is tied may be said outside it.
fn nested_text(fields: &Fields<'_>, names: &[&str], family: &'static str) -> Result<Decoder> {
    let nested = fields.nested(names)?;
    let mut decoder = text(&nested, nested.text(&["model_type"])?.unwrap_or(family))?;
    if !nested.mentions("tie_word_embeddings") {
        decoder.tied = fields.flag_or(&["tie_word_embeddings"], decoder.tied)?;
    }
    Ok(decoder)
}

/// `llava`: CLIP or SigLIP, two products with a GELU between. All layers of the tower are in the weights, whichever one is read from.
fn llava(fields: &Fields<'_>) -> Result<(Decoder, Vision)> {
    let decoder = nested_text(fields, &["text_config"], "llama")?;
    let nested = fields.nested(&["vision_config"])?;
    let square = match nested.text(&["model_type"])? {
        None | Some("clip_vision_model") => towers::clip(&nested)?,
        Some("siglip_vision_model") => towers::siglip(&nested)?,
        Some(other) => return Err(nested.unlike("model_type", "clip_vision_model or siglip_vision_model", format!("{other:?}"))),
    };
    let whole = match fields.text(&["vision_feature_select_strategy"])? {
        None | Some("default") => false,
        Some("full") => true,
        Some(other) => return Err(fields.unlike("vision_feature_select_strategy", "default or full", format!("{other:?}"))),
    };
    let bias = fields.flag_or(&["multimodal_projector_bias"], true)?;
    Ok(joined(decoder, square, whole, bias))
}

fn joined(decoder: Decoder, square: towers::Square, class_token: bool, bias: bool) -> (Decoder, Vision) {
    let (inner, outer) = (square.tower.hidden, decoder.hidden);
    let patches = square.positions();
    let tokens = if class_token { patches } else { square.grid * square.grid };
    let vision = Vision {
        projector: vec![projection(inner, outer, bias), projection(outer, outer, bias)],
        projector_norms: 0,
        input: ImageInput::Fixed { patches, tokens },
        tower: square.tower,
    };
    (decoder, vision)
}

/// `llava_llama`, the authors' own files of LLaVA 1.5: Llama at the top, the tower by name.
fn llava_llama(fields: &Fields<'_>) -> Result<(Decoder, Vision)> {
    let decoder = llama::llama(fields)?;
    match fields.text(&["mm_vision_tower"])? {
        Some("openai/clip-vit-large-patch14-336") => {}
        Some(other) => {
            let shown: String = other.chars().take(60).collect();
            return Err(fields.unlike("mm_vision_tower", "openai/clip-vit-large-patch14-336", format!("{shown:?}")));
        }
        None => return Err(fields.wrong("expected `mm_vision_tower`, the tower's name, but it is missing")),
    }
    match fields.text(&["mm_projector_type"])? {
        Some("mlp2x_gelu") => {}
        Some(other) => {
            let shown: String = other.chars().take(60).collect();
            return Err(fields.unlike("mm_projector_type", "mlp2x_gelu", format!("{shown:?}")));
        }
        None => return Err(fields.wrong("expected `mm_projector_type`, such as mlp2x_gelu, but it is missing")),
    }
    let empty = Value::Object(serde_json::Map::new());
    let square = towers::clip(&Fields::top(fields.model(), &empty)?.leniently())?;
    Ok(joined(decoder, square, false, true))
}

/// Limits of an image's area in Qwen's processor, 4 to 16,384 tokens of 28 × 28 pixels.
const QWEN_PIXELS: (u64, u64) = (4 * 28 * 28, 16384 * 28 * 28);

/// The decoder of Qwen's vision models, at the top of the file or, in newer ones, nested.
fn qwen_text(fields: &Fields<'_>) -> Result<Decoder> {
    let Some(nested) = fields.maybe_nested(&["text_config"])? else { return llama::qwen2_vl(fields) };
    let mut decoder = llama::qwen2_vl(&nested)?;
    if !nested.mentions("tie_word_embeddings") {
        decoder.tied = fields.flag_or(&["tie_word_embeddings"], decoder.tied)?;
    }
    Ok(decoder)
}

fn merged(decoder: Decoder, free: towers::Free, merged_norm: u64) -> (Decoder, Vision) {
    let wide = free.tower.hidden * free.merge * free.merge;
    let unit = free.tower.patch * free.merge;
    let vision = Vision {
        projector: vec![projection(wide, wide, true), projection(wide, decoder.hidden, true)],
        projector_norms: merged_norm,
        input: ImageInput::Native { unit, merge: free.merge, least: QWEN_PIXELS.0, most: QWEN_PIXELS.1 },
        tower: free.tower,
    };
    (decoder, vision)
}

/// `qwen2_vl`.
fn qwen2_vl(fields: &Fields<'_>) -> Result<(Decoder, Vision)> {
    let decoder = qwen_text(fields)?;
    let nested = fields.nested(&["vision_config"])?;
    let free = towers::qwen2_vl(&nested)?;
    agree(&nested, "hidden_size", &decoder)?;
    let norm = 2 * free.tower.hidden;
    Ok(merged(decoder, free, norm))
}

/// `qwen2_5_vl`.
fn qwen2_5_vl(fields: &Fields<'_>) -> Result<(Decoder, Vision)> {
    let decoder = qwen_text(fields)?;
    let nested = fields.nested(&["vision_config"])?;
    let free = towers::qwen2_5_vl(&nested)?;
    agree(&nested, "out_hidden_size", &decoder)?;
    let norm = free.tower.hidden;
    Ok(merged(decoder, free, norm))
}

/// What the merger gives must be what the decoder takes.
fn agree(vision: &Fields<'_>, name: &str, decoder: &Decoder) -> Result<()> {
    match vision.given(&[name])? {
        Some(given) if given != decoder.hidden => Err(vision.unlike(name, &format!("the decoder's hidden size {}", decoder.hidden), given)),
        _ => Ok(()),
    }
}

/// `internvl_chat`: InternViT, four patches joined into one, a norm and two products.
fn internvl_chat(fields: &Fields<'_>) -> Result<(Decoder, Vision)> {
    let decoder = nested_text(fields, &["llm_config", "text_config"], "internlm2")?;
    let nested = fields.nested(&["vision_config"])?;
    let square = towers::intern_vit(&nested)?;
    let ratio = fields.ratio_or(&["downsample_ratio"], 0.5)?;
    let joined = (1.0 / ratio).round() as u64;
    if joined == 0 || !square.grid.is_multiple_of(joined) {
        return Err(fields.unlike("downsample_ratio", &format!("such that {} patches a side are joined evenly", square.grid), ratio));
    }
    let wide = square.tower.hidden * joined * joined;
    let side = fields.size_or(&["force_image_size"], square.side)?;
    if side != square.side {
        return Err(fields.unlike("force_image_size", &format!("`vision_config.image_size`, {},", square.side), side));
    }
    let (least, most) = (fields.size_or(&["min_dynamic_patch"], 1)?, fields.size_or(&["max_dynamic_patch"], 6)?);
    let dynamic = fields.flag_or(&["dynamic_image_size"], false)?;
    let vision = Vision {
        projector: vec![projection(wide, decoder.hidden, true), projection(decoder.hidden, decoder.hidden, true)],
        projector_norms: 2 * wide,
        input: ImageInput::Tiles {
            side,
            patches: square.positions(),
            tokens: (square.grid / joined) * (square.grid / joined),
            least: if dynamic { least } else { 1 },
            most: if dynamic { most } else { 1 },
            thumbnail: fields.flag_or(&["use_thumbnail"], false)?,
        },
        tower: square.tower,
    };
    Ok((decoder, vision))
}

/// `gemma3` with images: SigLIP, patches averaged down to a fixed number of tokens, a norm and one matrix.
fn gemma3(fields: &Fields<'_>) -> Result<(Decoder, Vision)> {
    let decoder = nested_text(fields, &["text_config"], "gemma3_text")?;
    let nested = fields.nested(&["vision_config"])?;
    let square = towers::siglip(&nested)?;
    let vision = Vision {
        projector: vec![projection(square.tower.hidden, decoder.hidden, false)],
        projector_norms: square.tower.hidden,
        input: ImageInput::Fixed { patches: square.positions(), tokens: fields.size_or(&["mm_tokens_per_image"], 256)? },
        tower: square.tower,
    };
    Ok((decoder, vision))
}
