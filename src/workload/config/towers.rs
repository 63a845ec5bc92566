//! Vision towers: CLIP, SigLIP, Qwen's and InternViT, each with what stands around its layers.

use super::fields::{Fields, LARGEST};
use super::parts::{activation, gather, split, uniform};
use crate::error::Result;
use crate::workload::{Activation, Attention, Block, Dense, Grouped, Layout, Mlp, Norm, QkNorm, Tower};

/// A tower for images of one size.
pub(super) struct Square {
    pub(super) tower: Tower,
    /// Pixels along the side of an image.
    pub(super) side: u64,
    /// Patches along it.
    pub(super) grid: u64,
    /// Whether a class token stands before the patches.
    pub(super) class_token: bool,
}

impl Square {
    /// Positions in the tower.
    pub(super) const fn positions(&self) -> u64 {
        self.grid * self.grid + if self.class_token { 1 } else { 0 }
    }
}

/// Sizes that a tower has where its configuration says nothing.
struct Family {
    hidden: u64,
    ffn: u64,
    layers: u64,
    heads: u64,
    side: u64,
    patch: u64,
}

const CLIP: Family = Family { hidden: 1024, ffn: 4096, layers: 24, heads: 16, side: 336, patch: 14 };
const SIGLIP: Family = Family { hidden: 768, ffn: 3072, layers: 12, heads: 12, side: 224, patch: 16 };
const INTERN_VIT: Family = Family { hidden: 3200, ffn: 12800, layers: 48, heads: 25, side: 224, patch: 14 };

struct Sizes {
    hidden: u64,
    ffn: u64,
    layers: u64,
    heads: u64,
    head_dim: u64,
    side: u64,
    patch: u64,
    grid: u64,
    /// Elements that enter one patch.
    pixels: u64,
}

impl Sizes {
    fn read(fields: &Fields<'_>, family: &Family) -> Result<Self> {
        let hidden = fields.size(&["hidden_size"], family.hidden)?;
        let heads = fields.size(&["num_attention_heads"], family.heads)?;
        let (side, patch) = (fields.size_or(&["image_size"], family.side)?, fields.size_or(&["patch_size"], family.patch)?);
        let channels = channels(fields)?;
        if side < patch || side > 1 << 14 {
            return Err(fields.unlike("image_size", &format!("of {patch} (one patch) to 16384 pixels"), side));
        }
        Ok(Self {
            hidden,
            ffn: fields.size(&["intermediate_size"], family.ffn)?,
            layers: fields.layers(&["num_hidden_layers"], family.layers)?,
            heads,
            head_dim: split(fields, hidden, heads)?,
            side,
            patch,
            grid: side / patch,
            pixels: channels * patch * patch,
        })
    }

    const fn attention(&self) -> Grouped {
        Grouped {
            heads: self.heads,
            kv_heads: self.heads,
            head_dim: self.head_dim,
            fused: false,
            qkv_bias: true,
            output_bias: true,
            qk_norm: QkNorm::None,
            window: None,
            softcap: false,
        }
    }

    const fn mlp(&self, activation: Activation) -> Mlp {
        Mlp::Dense(Dense { ffn: self.ffn, gated: false, fused: false, bias: true, activation })
    }
}

fn channels(fields: &Fields<'_>) -> Result<u64> {
    let channels = fields.size_or(&["num_channels", "in_channels", "in_chans"], 3)?;
    if channels > 64 {
        return Err(fields.unlike("num_channels", "a number of colours up to 64", channels));
    }
    Ok(channels)
}

const fn layer(attention: Grouped, mlp: Mlp, norm: Norm) -> Block {
    Block { attention: Attention::Grouped(attention), mlp, norm, layout: Layout::Pre, layer_scale: false }
}

/// `clip_vision_model`: a class token, a norm before the layers and one after. The classifier's projection is no part of it here.
pub(super) fn clip(fields: &Fields<'_>) -> Result<Square> {
    let sizes = Sizes::read(fields, &CLIP)?;
    let block = layer(sizes.attention(), sizes.mlp(activation(fields, &["hidden_act"], Activation::QuickGelu)?), Norm::Layer);
    // Patches without a bias, the class token, its position and theirs, two norms.
    let stem = sizes.hidden * (sizes.pixels + 1 + (sizes.grid * sizes.grid + 1) + 4);
    let tower = Tower { hidden: sizes.hidden, blocks: uniform(sizes.layers, block), patch: sizes.patch, stem_parameters: stem };
    Ok(Square { tower, side: sizes.side, grid: sizes.grid, class_token: true })
}

/// `siglip_vision_model`, as a feature extractor: no class token and no pooling head; one norm after the layers.
pub(super) fn siglip(fields: &Fields<'_>) -> Result<Square> {
    let sizes = Sizes::read(fields, &SIGLIP)?;
    let block = layer(sizes.attention(), sizes.mlp(activation(fields, &["hidden_act"], Activation::Gelu)?), Norm::Layer);
    // Patches with a bias, positions, a norm.
    let stem = sizes.hidden * (sizes.pixels + 1 + sizes.grid * sizes.grid + 2);
    let tower = Tower { hidden: sizes.hidden, blocks: uniform(sizes.layers, block), patch: sizes.patch, stem_parameters: stem };
    Ok(Square { tower, side: sizes.side, grid: sizes.grid, class_token: false })
}

/// `intern_vit_6b`, which the 300M tower calls itself too: fused products, scaled branches, and by option norms on queries and keys.
pub(super) fn intern_vit(fields: &Fields<'_>) -> Result<Square> {
    let sizes = Sizes::read(fields, &INTERN_VIT)?;
    let norm = match fields.text(&["norm_type"])? {
        None | Some("rms_norm") => Norm::Rms,
        Some("layer_norm") => Norm::Layer,
        Some(other) => return Err(fields.unlike("norm_type", "rms_norm or layer_norm", format!("{other:?}"))),
    };
    let full = fields.flag_or(&["qk_normalization"], true)?;
    let attention = Grouped {
        fused: true,
        qkv_bias: fields.flag_or(&["qkv_bias"], false)?,
        qk_norm: if full { QkNorm::Full } else { QkNorm::None },
        ..sizes.attention()
    };
    let mut block = layer(attention, sizes.mlp(activation(fields, &["hidden_act"], Activation::Gelu)?), norm);
    block.layer_scale = true;
    // Patches with a bias, the class token, its position and theirs.
    let stem = sizes.hidden * (sizes.pixels + 1 + 1 + (sizes.grid * sizes.grid + 1));
    let tower = Tower { hidden: sizes.hidden, blocks: uniform(sizes.layers, block), patch: sizes.patch, stem_parameters: stem };
    Ok(Square { tower, side: sizes.side, grid: sizes.grid, class_token: true })
}

/// A tower for images of any size, and how many patches along a side make one token.
pub(super) struct Free {
    pub(super) tower: Tower,
    pub(super) merge: u64,
}

/// The tower of `qwen2_vl`: no positions of its own (they are rotary), two frames in a patch.
pub(super) fn qwen2_vl(fields: &Fields<'_>) -> Result<Free> {
    let hidden = fields.size(&["embed_dim"], 1280)?;
    let ratio = fields.ratio_or(&["mlp_ratio"], 4.0)?;
    let ffn = (hidden as f64 * ratio).floor();
    if !(1.0..=LARGEST as f64).contains(&ffn) {
        return Err(fields.unlike("mlp_ratio", "such that the MLP has a width", ratio));
    }
    let mlp = Mlp::Dense(Dense {
        ffn: ffn as u64,
        gated: false,
        fused: false,
        bias: true,
        activation: activation(fields, &["hidden_act"], Activation::QuickGelu)?,
    });
    let block = layer(free_attention(fields, hidden)?, mlp, Norm::Layer);
    free(fields, hidden, |layers| Ok(uniform(layers, block)))
}

/// The tower of `qwen2_5_vl`: RMS norms, gated MLPs, and windows everywhere but in a few layers.
pub(super) fn qwen2_5_vl(fields: &Fields<'_>) -> Result<Free> {
    let hidden = fields.size(&["hidden_size"], 1280)?;
    let mlp = Mlp::Dense(Dense {
        ffn: fields.size(&["intermediate_size"], 3420)?,
        gated: true,
        fused: false,
        bias: true,
        activation: activation(fields, &["hidden_act"], Activation::Silu)?,
    });
    let attention = free_attention(fields, hidden)?;
    // The window is given in pixels.
    let (pixels, patch) = (fields.size_or(&["window_size"], 112)?, fields.size_or(&["patch_size"], 14)?);
    let side = (pixels / patch).clamp(1, 1 << 12);
    let windowed = Grouped { window: Some(side * side), ..attention };
    free(fields, hidden, |layers| {
        let given = fields.marked("fullatt_block_indexes", layers)?;
        let full = given.unwrap_or_else(|| (0..layers).map(|index| [7, 15, 23, 31].contains(&index)).collect());
        Ok(gather(full.into_iter().map(|full| layer(if full { attention } else { windowed }, mlp, Norm::Rms))))
    })
}

fn free_attention(fields: &Fields<'_>, hidden: u64) -> Result<Grouped> {
    let heads = fields.size(&["num_heads"], 16)?;
    Ok(Grouped {
        heads,
        kv_heads: heads,
        head_dim: split(fields, hidden, heads)?,
        fused: true,
        qkv_bias: true,
        output_bias: true,
        qk_norm: QkNorm::None,
        window: None,
        softcap: false,
    })
}

fn free(fields: &Fields<'_>, hidden: u64, blocks: impl FnOnce(u64) -> Result<Vec<crate::workload::Blocks>>) -> Result<Free> {
    let patch = fields.size_or(&["patch_size"], 14)?;
    let frames = fields.size_or(&["temporal_patch_size"], 2)?;
    let merge = fields.size_or(&["spatial_merge_size"], 2)?;
    for (name, value) in [("patch_size", patch), ("temporal_patch_size", frames), ("spatial_merge_size", merge)] {
        if value > 1 << 10 {
            return Err(fields.unlike(name, "a whole number of 1 to 1024", value));
        }
    }
    let stem = hidden * channels(fields)? * frames * patch * patch;
    let layers = fields.layers(&["depth"], 32)?;
    Ok(Free { tower: Tower { hidden, blocks: blocks(layers)?, patch, stem_parameters: stem }, merge })
}
