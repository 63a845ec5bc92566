//! Laws of training memory: what must hold of any model and setting.

use proptest::prelude::*;

use super::{Overheads, Part, Phase, train};
use crate::catalog::Catalog;
use crate::units::Bytes;
use crate::workload::{
    Activation, Adapters, Attention, AttentionKernel, Block, Blocks, Checkpointing, CrossEntropy, Decoder, Dense, Grouped, Images, Latent,
    Layout, Method, Mlp, Model, Norm, Optimizer, Positions, QkNorm, Quantised, Targets, Training, named,
};

/// A model of `layers` equal layers.
fn toy(layers: u64, hidden: u64, heads: u64, kv_heads: u64, head_dim: u64, ffn: u64, vocab: u64) -> Model {
    let grouped = Grouped {
        heads,
        kv_heads,
        head_dim,
        fused: false,
        qkv_bias: false,
        output_bias: false,
        qk_norm: QkNorm::None,
        window: None,
        softcap: false,
    };
    let mlp = Dense { ffn, gated: true, fused: false, bias: false, activation: Activation::Silu };
    let block =
        Block { attention: Attention::Grouped(grouped), mlp: Mlp::Dense(mlp), norm: Norm::Rms, layout: Layout::Pre, layer_scale: false };
    let text = Decoder {
        hidden,
        vocab,
        tied: false,
        head_bias: false,
        positions: Positions::Rotary,
        final_norm: Norm::Rms,
        logit_softcap: false,
        scaled_embedding: false,
        blocks: vec![Blocks { count: layers, block }],
        unused_parameters: 0,
    };
    Model { name: "toy".to_owned(), architecture: "llama".to_owned(), text, vision: None }
}

fn adapters(rank: u64, dropout: bool) -> Adapters {
    Adapters { rank, targets: Targets::AllLinear, dropout, fp32: true }
}

fn methods(rank: u64) -> Vec<Method> {
    vec![
        Method::FullFp32,
        Method::AmpBf16,
        Method::FullMixed { fp32_gradients: true },
        Method::FullMixed { fp32_gradients: false },
        Method::FullBf16,
        Method::Lora(adapters(rank, false)),
        Method::Qlora(adapters(rank, true), Quantised::Nf4),
        Method::Qlora(adapters(rank, false), Quantised::Nf4Double),
    ]
}

fn peak(model: &Model, training: &Training) -> Bytes {
    train(model, training, &Overheads::prior(None)).unwrap().allocated.value
}

fn most(model: &Model, training: &Training, part: Part) -> Bytes {
    let memory = train(model, training, &Overheads::prior(None)).unwrap();
    memory.moments.iter().map(|moment| moment.footprint[part]).max().unwrap()
}

prop_compose! {
    fn models()(layers in 1..6u64, groups in 1..4u64, kv_heads in 1..4u64, dim in 1..5u64, ffn in 1..40u64, hidden in 1..20u64, vocab in 1..500u64)
        -> Model {
        toy(layers, 16 * hidden, groups * kv_heads, kv_heads, 16 * dim, 16 * ffn, 16 * vocab)
    }
}

prop_compose! {
    fn settings()(which in 0..8usize, optimizer in 0..6usize, kernel in 0..3usize, entropy in 0..3usize, checkpointing in 0..3usize,
                  rank in 1..17u64, batch in 1..5u64, seq in 1..600u64) -> Training {
        let mut training = Training::new(methods(rank).swap_remove(which), batch, seq);
        training.optimizer = [Optimizer::AdamWForeach, Optimizer::AdamWLoop, Optimizer::AdamWFused, Optimizer::SgdMomentum,
            Optimizer::Adam8bit, Optimizer::PagedAdam8bit][optimizer];
        training.attention = [AttentionKernel::Flash, AttentionKernel::Masked, AttentionKernel::Eager][kernel];
        training.cross_entropy = [CrossEntropy::Full, CrossEntropy::Chunked, CrossEntropy::Fused][entropy];
        training.checkpointing = [Checkpointing::None, Checkpointing::Selective, Checkpointing::Full][checkpointing];
        training
    }
}

proptest! {
    #[test]
    fn more_tokens_never_take_less(model in models(), training in settings(), more in 1..4u64) {
        let longer = Training { seq: training.seq + more * 37, ..training.clone() };
        let wider = Training { batch: training.batch + more, ..training.clone() };
        let here = peak(&model, &training);
        prop_assert!(here <= peak(&model, &longer));
        prop_assert!(here <= peak(&model, &wider));
    }

    #[test]
    fn a_higher_rank_never_takes_less(model in models(), training in settings(), rank in 1..15u64) {
        // In 8 bits it can: a tensor that grows to 4,096 elements leaves FP32.
        let optimizer = Optimizer::AdamWFused;
        let with = |rank| Training { method: Method::Lora(adapters(rank, false)), optimizer, ..training.clone() };
        prop_assert!(peak(&model, &with(rank)) <= peak(&model, &with(rank + 1)));
    }

    #[test]
    fn parts_sum_to_totals_and_the_peak_is_the_largest(model in models(), training in settings()) {
        let memory = train(&model, &training, &Overheads::prior(None)).unwrap();
        for moment in &memory.moments {
            prop_assert_eq!(moment.footprint.parts().map(|(_, bytes)| bytes).sum::<Bytes>(), moment.footprint.total());
            prop_assert!(moment.footprint.total() <= memory.allocated.value);
        }
        prop_assert_eq!(memory.peak().unwrap().footprint.total(), memory.allocated.value);
        prop_assert!(memory.allocated.value <= memory.reserved.value && memory.reserved.value <= memory.device.value);
        prop_assert!(memory.device.low <= memory.device.value && memory.device.value <= memory.device.high);
    }

    #[test]
    fn checkpointing_never_keeps_more(model in models(), training in settings()) {
        let kept = |checkpointing| {
            let memory = train(&model, &Training { checkpointing, ..training.clone() }, &Overheads::prior(None)).unwrap();
            memory.moments.iter().find(|moment| moment.phase == Phase::Loss).unwrap().footprint[Part::Activations]
        };
        let (none, selective, full) = (kept(Checkpointing::None), kept(Checkpointing::Selective), kept(Checkpointing::Full));
        prop_assert!(selective <= none);
        // A mask that layers need again when they run again is the one thing that is there only with checkpointing.
        let mask = if training.attention == AttentionKernel::Masked { Bytes(training.tokens() * training.seq) } else { Bytes(0) };
        prop_assert!(full <= none + mask);
    }

    #[test]
    fn eight_bits_never_take_more_than_adamw(model in models(), training in settings()) {
        let with = |optimizer| most(&model, &Training { optimizer, ..training.clone() }, Part::Optimizer);
        // Four bytes per tensor for AdamW's count of steps aside, which 8-bit states do without.
        if !matches!(training.method, Method::FullBf16) {
            prop_assert!(with(Optimizer::Adam8bit) <= with(Optimizer::AdamWFused));
        }
        prop_assert!(with(Optimizer::AdamWFused) <= with(Optimizer::AdamWLoop));
        prop_assert!(with(Optimizer::SgdMomentum) <= with(Optimizer::AdamWFused));
    }

    /// The test build checks every addition and multiplication for overflow.
    #[test]
    fn the_largest_that_passes_does_not_overflow(
        (layers, hidden, heads, group) in (0..25u32, 0..25u32, 0..25u32, 0..25u32),
        (dim, ffn, vocab, batch) in (0..25u32, 0..25u32, 0..25u32, 0..29u32),
        (seq, mut training) in (0..29u32, settings()),
    ) {
        let model = toy(1 << layers, 1 << hidden, 1 << heads, 1 << group.min(heads), 1 << dim, 1 << ffn, 1 << vocab);
        (training.batch, training.seq) = (1 << batch, 1 << seq);
        if let Ok(model) = model.check()
            && let Ok(memory) = train(&model, &training, &Overheads::prior(None))
        {
            prop_assert!(memory.allocated.value < Bytes(1 << 62));
            prop_assert!(memory.device.high < Bytes(1 << 63));
        }
    }
}

#[test]
fn every_model_of_the_catalog_can_be_trained_in_every_way() {
    let catalog = Catalog::embedded().unwrap();
    for row in &catalog.models {
        let model = named(&catalog, &row.name).unwrap();
        for method in methods(8) {
            let mut training = Training::new(method, 1, 2048);
            let none = peak(&model, &training);
            training.checkpointing = Checkpointing::Full;
            assert!(peak(&model, &training) <= none, "{} {:?}", row.name, training.method);
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let catalog = Catalog::embedded().unwrap();
    let model = named(&catalog, "Llama-3.2-1B").unwrap();
    let refused = |training: Training, said: &str| {
        let error = train(&model, &training, &Overheads::prior(None)).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    };
    refused(Training::new(Method::Lora(adapters(513, false)), 1, 128), "expected a LoRA rank of 1 to 512");
    refused(Training::new(Method::Lora(adapters(0, false)), 1, 128), "expected a LoRA rank of 1 to 512");
    refused(Training::new(Method::FullBf16, 0, 128), "expected a batch");
    refused(Training::new(Method::FullBf16, u64::MAX, 128), "expected a batch");
    refused(Training { attention: AttentionKernel::Eager, ..Training::new(Method::FullBf16, 1, 1 << 28) }, "beyond 2^60 bytes");
    let images = Images { count: 1, width: 336, height: 336 };
    refused(Training { images, ..Training::new(Method::FullBf16, 1, 4096) }, "it takes no images; leave them out");
}

/// Both ways down to latents read the hidden states, which are kept once (`DeepseekV3Attention` of transformers).
#[test]
fn a_latent_for_queries_adds_what_its_norm_and_its_way_up_keep() {
    let (rank, tokens, layers) = (24, 128, 3);
    let kept = |q_rank| {
        let mut model = toy(layers, 64, 4, 4, 16, 128, 256);
        model.text.blocks[0].block.attention = Attention::Latent(Latent { heads: 4, q_rank, kv_rank: rank, nope: 16, rope: 8, value: 16 });
        most(&model, &Training::new(Method::FullBf16, 1, tokens), Part::Activations)
    };
    // The norm keeps its input in FP32, what it normalised in BF16 and one number; the way up keeps the norm's result.
    assert_eq!(kept(Some(rank)) - kept(None), Bytes(layers * tokens * (rank * (4 + 2) + 4 + rank * 2)));
}

#[test]
fn a_trained_tower_keeps_what_its_patches_leave_and_a_frozen_one_nothing() {
    let catalog = Catalog::embedded().unwrap();
    let model = named(&catalog, "Qwen2-VL-2B").unwrap();
    let kept = |method, side| {
        let images = Images { count: 1, width: side, height: side };
        most(&model, &Training { images, ..Training::new(method, 1, 4096) }, Part::Activations)
    };
    assert!(kept(Method::FullBf16, 448) < kept(Method::FullBf16, 896));
    let lora = || Method::Lora(adapters(8, false));
    assert_eq!(kept(lora(), 448), kept(lora(), 896));
}
