//! Values of options as they are typed: hyphens and underscores are the same.

use crate::units::{Seconds, significant};
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
pub(in crate::cli) enum MethodWord {
    FullFp32,
    AmpBf16,
    FullMixed,
    FullBf16,
    Lora,
    Qlora,
}

impl MethodWord {
    /// As the guide's calculator spells it.
    pub(in crate::cli) const fn underscored(self) -> &'static str {
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
    pub(in crate::cli) fn with(self, adapters: Adapters, fp32_gradients: bool, quantised: crate::workload::Quantised) -> Method {
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

pub(in crate::cli) fn method(text: &str) -> Result<MethodWord, String> {
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

pub(in crate::cli) fn optimizer(text: &str) -> Result<Optimizer, String> {
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

pub(in crate::cli) fn checkpointing(text: &str) -> Result<Checkpointing, String> {
    one_of(&[("none", Checkpointing::None), ("selective", Checkpointing::Selective), ("full", Checkpointing::Full)], text)
}

pub(in crate::cli) fn attention(text: &str) -> Result<AttentionKernel, String> {
    one_of(&[("flash", AttentionKernel::Flash), ("eager", AttentionKernel::Eager), ("masked", AttentionKernel::Masked)], text)
}

pub(in crate::cli) fn cross_entropy(text: &str) -> Result<CrossEntropy, String> {
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

pub(in crate::cli) fn framework(text: &str) -> Result<Framework, String> {
    one_of(&[("hugging-face", Framework::HuggingFace), ("megatron", Framework::Megatron), ("lightning", Framework::Lightning)], text)
}

pub(in crate::cli) fn data(text: &str) -> Result<Data, String> {
    one_of(&[("ddp", Data::Ddp), ("zero1", Data::Zero1), ("zero2", Data::Zero2), ("zero3", Data::Zero3), ("fsdp", Data::Fsdp)], text)
}

pub(in crate::cli) fn offload(text: &str) -> Result<Offload, String> {
    one_of(&[("none", Offload::None), ("optimizer", Offload::Optimizer), ("all", Offload::All)], text)
}

/// What `--lora-targets` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct TargetsWord {
    /// Which products.
    pub(in crate::cli) targets: Option<Targets>,
    /// How many of a layer, for the guide's calculator.
    pub(in crate::cli) count: u64,
}

/// The order in which a bare number takes products: the first two are what PEFT adapts by default, the first four all of attention.
const IN_ORDER: [&str; 7] = ["q", "v", "k", "o", "gate", "up", "down"];

/// A number, names separated by commas (with or without `_proj`), or `all-linear`.
pub(in crate::cli) fn targets(text: &str) -> Result<TargetsWord, String> {
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
pub(in crate::cli) fn image_size(text: &str) -> Result<(u64, u64), String> {
    let sides =
        text.split_once(['x', 'X', '×']).and_then(|(width, height)| Some((width.trim().parse().ok()?, height.trim().parse().ok()?)));
    sides.filter(|&(width, height)| width > 0 && height > 0).ok_or_else(|| "expected WIDTHxHEIGHT in pixels such as 1024x768".to_owned())
}

/// The images of a sequence; their size is needed only where there are any.
pub(in crate::cli) fn images(count: u64, size: Option<(u64, u64)>) -> crate::error::Result<Images> {
    match (count, size) {
        (0, None) => Ok(Images::default()),
        (0, Some(_)) => Err(crate::error::Error::usage("--image-size says how large the images are; say with --images how many there are")),
        (_, None) => Err(crate::error::Error::usage("--images needs their size; give it with --image-size WIDTHxHEIGHT")),
        (count, Some((width, height))) => Ok(Images { count, width, height }),
    }
}

/// Units of time that people plan in, in seconds.
const DURATIONS: [(&str, f64); 12] = [
    ("weeks", 604_800.0),
    ("week", 604_800.0),
    ("w", 604_800.0),
    ("days", 86_400.0),
    ("day", 86_400.0),
    ("d", 86_400.0),
    ("hours", 3600.0),
    ("h", 3600.0),
    ("min", 60.0),
    ("ms", 1e-3),
    ("m", 60.0),
    ("s", 1.0),
];

/// A duration as people say it, such as `3 d`, `36 h` or `200 ms`.
pub(in crate::cli) fn duration(text: &str) -> Result<Seconds, String> {
    let wrong = || format!("expected a time such as \"3 d\", \"36 h\" or \"200 ms\" but found {text:?}");
    let text_given = text.trim();
    let (unit, size) = DURATIONS.iter().find(|(unit, _)| text_given.ends_with(unit)).ok_or_else(wrong)?;
    let number: f64 = text_given[..text_given.len() - unit.len()].trim().parse().map_err(|_| wrong())?;
    Some(Seconds(number * size)).filter(|time| time.0.is_finite() && time.0 > 0.0).ok_or_else(wrong)
}

/// A duration in the unit that people would say it in.
pub(in crate::cli) fn duration_of(time: Seconds) -> String {
    let units = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min")];
    match units.into_iter().find(|(size, _)| time.0 >= 2.0 * size) {
        Some((size, unit)) if time.0.is_finite() => format!("{} {unit}", significant(time.0 / size, 3)),
        _ if time.0.is_finite() => time.display(3),
        _ => "∞".to_owned(),
    }
}

/// A large count, such as `300B`, `1.5M` or `2e9`.
pub(in crate::cli) fn count(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a count such as 2e9 or 300B but found {text:?}");
    let text_given = text.trim();
    let units = [("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)];
    let (number, size) = units.iter().find_map(|(unit, size)| Some((text_given.strip_suffix(unit)?, *size))).unwrap_or((text_given, 1.0));
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Some(number * size).filter(|count| (1.0..=1e18).contains(count)).ok_or_else(wrong)
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
    fn durations_and_counts_are_as_people_say_them() {
        for (text, seconds) in
            [("3 d", 259_200.0), ("36h", 129_600.0), ("2 weeks", 1_209_600.0), ("200 ms", 0.2), ("5 min", 300.0), ("1.5s", 1.5)]
        {
            assert_eq!(duration(text), Ok(Seconds(seconds)), "{text}");
        }
        for wrong in ["", "3", "d", "-1 d", "0 s", "nan d", "inf h", "3 years"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration_of(Seconds(300_000.0)), "3.47 d");
        assert_eq!(duration_of(Seconds(100_000.0)), "27.8 h");
        assert_eq!(duration_of(Seconds(0.25)), "250 ms");
        assert_eq!((count("300B"), count("1.5M"), count("2e9"), count("12")), (Ok(3e11), Ok(1.5e6), Ok(2e9), Ok(12.0)));
        assert!(count("0").is_err() && count("many").is_err() && count("-3B").is_err());
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
