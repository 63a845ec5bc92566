//! Values of options as they are typed: hyphens and underscores are the same.

use crate::workload::{
    Adapters, AttentionKernel, Checkpointing, CrossEntropy, Data, Framework, Images, Method, Offload, Optimizer, Targets,
};

/// One of `table`, by its word.
fn one_of<T: Copy>(table: &[(&str, T)], text: &str) -> Result<T, String> {
    let wanted = text.trim().to_ascii_lowercase().replace('_', "-");
    table.iter().find(|(word, _)| *word == wanted).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = table.iter().map(|(word, _)| *word).collect();
        format!("expected one of {}", words.join(", "))
    })
}

/// How to train, before its adapters are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MethodWord {
    FullFp32,
    AmpBf16,
    FullMixed,
    FullBf16,
    Lora,
    Qlora,
}

impl MethodWord {
    /// As the guide's calculator spells it.
    pub(super) const fn underscored(self) -> &'static str {
        match self {
            Self::FullFp32 => "full_fp32",
            Self::AmpBf16 => "amp_bf16",
            Self::FullMixed => "full_mixed",
            Self::FullBf16 => "full_bf16",
            Self::Lora => "lora",
            Self::Qlora => "qlora",
        }
    }

    /// With these adapters, gradients in FP32 where that is a choice, and this form of 4 bits.
    pub(super) fn with(self, adapters: Adapters, fp32_gradients: bool, quantised: crate::workload::Quantised) -> Method {
        match self {
            Self::FullFp32 => Method::FullFp32,
            Self::AmpBf16 => Method::AmpBf16,
            Self::FullMixed => Method::FullMixed { fp32_gradients },
            Self::FullBf16 => Method::FullBf16,
            Self::Lora => Method::Lora(adapters),
            Self::Qlora => Method::Qlora(adapters, quantised),
        }
    }
}

pub(super) fn method(text: &str) -> Result<MethodWord, String> {
    one_of(
        &[
            ("full-fp32", MethodWord::FullFp32),
            ("full-mixed", MethodWord::FullMixed),
            ("amp-bf16", MethodWord::AmpBf16),
            ("full-bf16", MethodWord::FullBf16),
            ("lora", MethodWord::Lora),
            ("qlora", MethodWord::Qlora),
        ],
        text,
    )
}

pub(super) fn optimizer(text: &str) -> Result<Optimizer, String> {
    one_of(
        &[
            ("adamw", Optimizer::AdamWLoop),
            ("sgd", Optimizer::SgdMomentum),
            ("adam-8bit", Optimizer::Adam8bit),
            ("adamw-fused", Optimizer::AdamWFused),
            ("adamw-foreach", Optimizer::AdamWForeach),
            ("paged-adam-8bit", Optimizer::PagedAdam8bit),
        ],
        text,
    )
}

pub(super) fn checkpointing(text: &str) -> Result<Checkpointing, String> {
    one_of(&[("none", Checkpointing::None), ("selective", Checkpointing::Selective), ("full", Checkpointing::Full)], text)
}

pub(super) fn attention(text: &str) -> Result<AttentionKernel, String> {
    one_of(&[("flash", AttentionKernel::Flash), ("eager", AttentionKernel::Eager), ("masked", AttentionKernel::Masked)], text)
}

pub(super) fn cross_entropy(text: &str) -> Result<CrossEntropy, String> {
    one_of(
        &[
            ("full", CrossEntropy::Full),
            ("chunked", CrossEntropy::Chunked),
            ("in-place", CrossEntropy::InPlace),
            ("fused", CrossEntropy::Fused),
        ],
        text,
    )
}

pub(super) fn framework(text: &str) -> Result<Framework, String> {
    one_of(&[("hugging-face", Framework::HuggingFace), ("megatron", Framework::Megatron), ("lightning", Framework::Lightning)], text)
}

pub(super) fn data(text: &str) -> Result<Data, String> {
    one_of(&[("ddp", Data::Ddp), ("zero1", Data::Zero1), ("zero2", Data::Zero2), ("zero3", Data::Zero3), ("fsdp", Data::Fsdp)], text)
}

pub(super) fn offload(text: &str) -> Result<Offload, String> {
    one_of(&[("none", Offload::None), ("optimizer", Offload::Optimizer), ("all", Offload::All)], text)
}

/// What `--lora-targets` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetsWord {
    /// Which products.
    pub(super) targets: Option<Targets>,
    /// How many of a layer, for the guide's calculator.
    pub(super) count: u64,
}

/// The order in which a bare number takes products: the first two are what PEFT adapts by default, the first four all of attention.
const IN_ORDER: [&str; 7] = ["q", "v", "k", "o", "gate", "up", "down"];

/// A number, names separated by commas (with or without `_proj`), or `all-linear`.
pub(super) fn targets(text: &str) -> Result<TargetsWord, String> {
    let plain = text.trim().to_ascii_lowercase().replace('_', "-");
    if plain == "all-linear" {
        return Ok(TargetsWord { targets: Some(Targets::AllLinear), count: IN_ORDER.len() as u64 });
    }
    if let Ok(count) = plain.parse::<u64>() {
        let named = usize::try_from(count).ok().and_then(|count| IN_ORDER.get(..count));
        return Ok(TargetsWord { targets: named.filter(|names| !names.is_empty()).map(by_name), count });
    }
    let mut names: Vec<&str> = Vec::new();
    for name in plain.split(',').map(|name| name.trim().trim_end_matches("-proj")) {
        let known = IN_ORDER.into_iter().find(|known| *known == name);
        let name =
            known.ok_or_else(|| format!("expected a number, all-linear, or names of {} separated by commas", IN_ORDER.join(", ")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(TargetsWord { targets: Some(by_name(&names)), count: names.len() as u64 })
}

fn by_name(names: &[&str]) -> Targets {
    let has = |name| names.contains(&name);
    Targets::Some { q: has("q"), k: has("k"), v: has("v"), o: has("o"), gate: has("gate"), up: has("up"), down: has("down") }
}

/// `WIDTHxHEIGHT` in pixels.
pub(super) fn image_size(text: &str) -> Result<(u64, u64), String> {
    let sides =
        text.split_once(['x', 'X', '×']).and_then(|(width, height)| Some((width.trim().parse().ok()?, height.trim().parse().ok()?)));
    sides.filter(|&(width, height)| width > 0 && height > 0).ok_or_else(|| "expected WIDTHxHEIGHT in pixels such as 1024x768".to_owned())
}

/// The images of a sequence; their size is needed only where there are any.
pub(super) fn images(count: u64, size: Option<(u64, u64)>) -> crate::error::Result<Images> {
    match (count, size) {
        (0, None) => Ok(Images::default()),
        (0, Some(_)) => Err(crate::error::Error::usage("--image-size says how large the images are; say with --images how many there are")),
        (_, None) => Err(crate::error::Error::usage("--images needs their size; give it with --image-size WIDTHxHEIGHT")),
        (count, Some((width, height))) => Ok(Images { count, width, height }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyphens_and_underscores_are_the_same() {
        assert_eq!(method("full_mixed"), Ok(MethodWord::FullMixed));
        assert_eq!(method("QLoRA"), Ok(MethodWord::Qlora));
        assert_eq!(optimizer("adam_8bit"), Ok(Optimizer::Adam8bit));
        assert_eq!(method("full").unwrap_err(), "expected one of full-fp32, full-mixed, amp-bf16, full-bf16, lora, qlora");
    }

    #[test]
    fn targets_are_a_number_names_or_all() {
        assert_eq!(targets("all_linear").unwrap().targets, Some(Targets::AllLinear));
        assert_eq!(targets("4").unwrap(), targets("q,k,v,o").unwrap());
        assert_eq!(targets("2").unwrap(), targets("q_proj,v_proj").unwrap());
        assert_eq!(targets("q,q").unwrap().count, 1);
        // More than a layer has, or none, is a number all the same: the guide's calculator takes any.
        assert_eq!(targets("9").unwrap(), TargetsWord { targets: None, count: 9 });
        assert_eq!(targets("0").unwrap(), TargetsWord { targets: None, count: 0 });
        assert!(targets("q,head").is_err() && targets("").is_err() && targets("-1").is_err());
    }

    #[test]
    fn images_need_a_size_and_a_size_needs_images() {
        assert_eq!(image_size("1024x768"), Ok((1024, 768)));
        assert!(image_size("1024").is_err() && image_size("0x5").is_err() && image_size("axb").is_err());
        assert!(images(1, None).is_err() && images(0, Some((1, 1))).is_err());
        assert_eq!(images(2, Some((4, 6))).unwrap(), Images { count: 2, width: 4, height: 6 });
    }
}
