//! Laws and known numbers of inference memory.

use proptest::prelude::*;

use super::infer::candidates;
use super::{Footprint, Memory, Overheads, Part, Phase, Reservation, infer, reserve};
use crate::figure::Figure;
use crate::units::Bytes;
use crate::workload::{
    Activation, Attention, AttentionKernel, Block, Blocks, Cache, Decoder, Dense, Experts, Grouped, Images, Inference, KvPrecision, Latent,
    Layout, LogitRows, Mix, Mlp, Model, Norm, Positions, Precision, QkNorm,
};

fn overheads() -> Overheads {
    Overheads {
        context: Figure::assumed(Bytes::mib(500), "test"),
        workspace: Figure::assumed(Bytes::mib(32), "test"),
        slack: Figure::assumed(1.05, "test"),
        communicator: Figure::assumed(Bytes::mib(350), "test"),
    }
}

fn grouped(heads: u64, kv_heads: u64, head_dim: u64) -> Grouped {
    Grouped {
        heads,
        kv_heads,
        head_dim,
        fused: false,
        qkv_bias: false,
        output_bias: false,
        qk_norm: QkNorm::None,
        window: None,
        softcap: false,
    }
}

fn dense(ffn: u64) -> Dense {
    Dense { ffn, gated: true, fused: false, bias: false, activation: Activation::Silu }
}

fn block(attention: Attention, mlp: Mlp) -> Block {
    Block { attention, mlp, norm: Norm::Rms, layout: Layout::Pre, layer_scale: false }
}

fn model(hidden: u64, vocab: u64, tied: bool, blocks: Vec<Blocks>) -> Model {
    let text = Decoder {
        hidden,
        vocab,
        tied,
        head_bias: false,
        positions: Positions::Rotary,
        final_norm: Norm::Rms,
        logit_softcap: false,
        scaled_embedding: false,
        blocks,
        unused_parameters: 0,
    };
    Model { name: "test".to_owned(), architecture: "llama".to_owned(), text, vision: None }
}

fn llama_3_8b() -> Model {
    let block = block(Attention::Grouped(grouped(32, 8, 128)), Mlp::Dense(dense(14336)));
    model(4096, 128_256, false, vec![Blocks { count: 32, block }])
}

fn deepseek_v3() -> Model {
    let latent = Attention::Latent(Latent { heads: 128, q_rank: Some(1536), kv_rank: 512, nope: 128, rope: 64, value: 128 });
    let experts = Experts { count: 256, active: 8, each: dense(2048), shared: Some(dense(2048)), shared_gate: false, router_bias: true };
    let blocks = vec![
        Blocks { count: 3, block: block(latent, Mlp::Dense(dense(18432))) },
        Blocks { count: 58, block: block(latent, Mlp::Experts(experts)) },
    ];
    model(7168, 129_280, false, blocks)
}

fn part(memory: &Memory, phase: Phase, part: Part) -> Bytes {
    memory.moments.iter().find(|moment| moment.phase == phase).map(|moment| moment.footprint[part]).unwrap()
}

fn at_rest(model: &Model, inference: Inference) -> Footprint {
    let memory = infer(model, &inference, &overheads()).unwrap();
    memory.moments.iter().find(|moment| moment.phase == Phase::Rest).unwrap().footprint
}

#[test]
fn weights_and_cache_are_those_of_the_shapes() {
    let llama = llama_3_8b();
    let rest = at_rest(&llama, Inference::new(Precision::Bf16, 1, 8000, 192));
    assert_eq!(rest[Part::Weights], Bytes(2 * 8_030_261_248));
    assert_eq!(rest[Part::KvCache], Bytes(131_072 * 8192));
    // DeepSeek V3 keeps 70,272 bytes of a token, 35,136 in FP8.
    let deepseek = deepseek_v3();
    let usual = Inference::new(Precision::Fp8, 1, 1000, 0);
    assert_eq!(at_rest(&deepseek, usual)[Part::KvCache], Bytes(70_272 * 1000));
    let fp8 = Inference { kv_precision: KvPrecision::Fp8, ..usual };
    assert_eq!(at_rest(&deepseek, fp8)[Part::KvCache], Bytes(35_136 * 1000));
}

#[test]
fn every_models_cache_is_the_published_one() {
    let catalog = crate::catalog::Catalog::embedded().unwrap();
    for (name, bytes) in [
        ("Llama-2-7B", 524_288),
        ("Llama-2-13B", 819_200),
        ("Llama-2-70B", 327_680),
        ("Llama-3.1-8B", 131_072),
        ("Llama-3.1-70B", 327_680),
        ("Llama-3.1-405B", 516_096),
        ("Qwen2.5-7B", 57_344),
        ("Qwen2.5-32B", 262_144),
        ("Qwen2.5-72B", 327_680),
        ("Qwen3-8B", 147_456),
        ("Qwen3-30B-A3B", 98_304),
        ("Mistral-7B-v0.1", 131_072),
        ("Mixtral-8x7B", 131_072),
        ("Gemma-2-9B", 344_064),
        ("Qwen2-VL-2B", 28_672),
        ("InternVL2-26B", 196_608),
        ("DeepSeek-V3", 70_272),
    ] {
        let model = crate::workload::named(&catalog, name).unwrap();
        let rest = at_rest(&model, Inference::new(Precision::Bf16, 3, 1000, 24));
        assert_eq!(rest[Part::KvCache], Bytes(bytes * 3 * 1024), "{name}");
        assert_eq!(rest[Part::Weights], Bytes(2 * model.parameters()), "{name}");
    }
}

#[test]
fn a_windowed_layer_keeps_its_window() {
    let full = block(Attention::Grouped(grouped(16, 8, 256)), Mlp::Dense(dense(14336)));
    let windowed = block(Attention::Grouped(Grouped { window: Some(4096), ..grouped(16, 8, 256) }), Mlp::Dense(dense(14336)));
    let gemma = model(3584, 256_000, true, vec![Blocks { count: 21, block: full }, Blocks { count: 21, block: windowed }]);
    let token = 2 * 8 * 256 * 2;
    let cache = |seq| at_rest(&gemma, Inference::new(Precision::Bf16, 1, seq, 0))[Part::KvCache].0;
    assert_eq!(cache(1000), 42 * token * 1000);
    assert_eq!(cache(10_000), 21 * token * 10_000 + 21 * token * 4096);
}

#[test]
fn pages_are_filled_up() {
    let paged = |block, seq| {
        let inference = Inference { cache: Cache::Paged { block }, ..Inference::new(Precision::Bf16, 1, seq, 0) };
        at_rest(&llama_3_8b(), inference)[Part::KvCache].0 / 131_072
    };
    // 15,049 tokens in pages of 128 are 118 pages.
    assert_eq!(paged(128, 15_049), 118 * 128);
    assert_eq!(paged(16, 15_049), 941 * 16);
}

#[test]
fn few_heads_are_copied_to_many_gpus() {
    let cache = |tensor| at_rest(&llama_3_8b(), Inference { tensor, ..Inference::new(Precision::Bf16, 1, 1024, 0) })[Part::KvCache].0;
    assert_eq!(cache(8), cache(1) / 8);
    assert_eq!(cache(32), cache(8));
    let latent = |tensor| at_rest(&deepseek_v3(), Inference { tensor, ..Inference::new(Precision::Fp8, 1, 1024, 0) })[Part::KvCache];
    assert_eq!(latent(8), latent(1));
}

#[test]
fn a_reservation_is_cut_into_pages() {
    // 11.12 GiB, rounded to two digits, are 5691 pages of 16 tokens of Llama-3-8B.
    let page = Bytes(131_072 * 16);
    let blocks = |gib: f64| Reservation::of(Bytes((gib * Bytes::GIB.as_f64()) as u64), page, 16, 8192).blocks;
    assert!((blocks(11.115)..=blocks(11.125)).contains(&5691));
    let served = Inference::new(Precision::Bf16, 1, 8192, 0).vllm();
    let reservation = reserve(&llama_3_8b(), &served, &overheads(), Bytes::gib(80), 0.9).unwrap();
    assert_eq!(reservation.tokens, reservation.blocks * 16);
    assert_eq!(reservation.sequences, reservation.blocks / 512);
    assert!(reservation.cache < Bytes::gib(72) - Bytes(2 * 8_030_261_248));
    assert!(reservation.cache > Bytes::gib(53));
    let error = reserve(&llama_3_8b(), &served, &overheads(), Bytes::gib(16), 0.9).unwrap_err().to_string();
    assert!(error.contains("more GPUs"), "{error}");
    assert!(reserve(&llama_3_8b(), &served, &overheads(), Bytes::gib(80), f64::NAN).is_err());
}

#[test]
fn the_mlp_is_the_worst_moment_of_a_long_prompt() {
    let inference = Inference::new(Precision::Bf16, 1, 32_768, 1).transformers();
    let memory = infer(&llama_3_8b(), &inference, &overheads()).unwrap();
    // Two tensors of the residual held by callers, the residual and the normalised input, and three of the inner width.
    let expected = 32_768 * 2 * (4 * 4096 + 3 * 14_336);
    assert_eq!(part(&memory, Phase::Prefill, Part::Activations), Bytes(expected));
    assert_eq!(memory.peak().unwrap().phase, Phase::Prefill);
    // Read 512 at a time it is a 64th.
    let chunked = infer(&llama_3_8b(), &Inference { chunk: Some(512), ..inference }, &overheads()).unwrap();
    assert_eq!(part(&chunked, Phase::Prefill, Part::Activations), Bytes(expected / 64));
}

#[test]
fn logits_of_all_tokens_are_worse_than_of_the_last() {
    let last = Inference::new(Precision::Bf16, 4, 4096, 1).transformers();
    let all = Inference { logits: LogitRows::All, ..last };
    let logits = |inference| part(&infer(&llama_3_8b(), &inference, &overheads()).unwrap(), Phase::Prefill, Part::Logits).0;
    assert_eq!(logits(all), 4 * 4096 * 128_256 * 6);
    // The last tokens' are too few to be the worst moment.
    assert_eq!(logits(last), 0);
}

#[test]
fn each_kind_of_cache_has_its_own_worst_moment() {
    let usual = Inference::new(Precision::Bf16, 1, 1, 8191).transformers();
    let decode = |inference| {
        let memory = infer(&llama_3_8b(), &inference, &overheads()).unwrap();
        (part(&memory, Phase::Decode, Part::KvCache).0, part(&memory, Phase::Decode, Part::Activations).0)
    };
    let cache = 131_072 * 8192;
    let (kept, growing) = decode(usual);
    assert_eq!(kept, cache);
    // One layer's keys (half of a 32nd of the cache) are there twice while they are concatenated; the token itself takes next to nothing.
    assert!((cache / 64..cache / 64 + (1 << 18)).contains(&growing));
    assert!(decode(Inference { cache: Cache::Static, ..usual }).1 < 1 << 18);
    assert_eq!(decode(Inference { cache: Cache::Tuple, ..usual }).0, 2 * cache);
    let (_, repeated) = decode(Inference { repeat_kv: true, ..usual });
    let copies = 2 * 2 * 4096 * 8192;
    assert!((copies..copies + (1 << 18)).contains(&repeated));
}

#[test]
fn images_take_the_towers_worst_moment() {
    let qwen = crate::workload::named(&crate::catalog::Catalog::embedded().unwrap(), "Qwen2-VL-7B").unwrap();
    // 1288 x 840 pixels are 46 x 30 tokens of 28 x 28, and four times as many patches of 14 x 14.
    let images = Images { count: 4, width: 1288, height: 840 };
    let inference = Inference { images, ..Inference::new(Precision::Bf16, 1, 6000, 100).transformers() };
    let memory = infer(&qwen, &inference, &overheads()).unwrap();
    let vision = qwen.vision.as_ref().unwrap();
    assert_eq!(vision.patches(1288, 840), 4 * 46 * 30);
    let tower = super::prefill::tower(vision, &inference, qwen.text.hidden);
    let patches = 4 * 4 * 46 * 30;
    // Two inner tensors of four times the width, the residual twice, the branch and the normalised input; pixels; tokens of the decoder.
    let layer = patches * 2 * (2 * 5120 + 4 * 1280);
    assert_eq!(tower, Bytes(layer + patches * 6 * 14 * 14 * 6 + patches / 4 * 3584 * 2));
    assert!(memory.peak().unwrap().footprint.total() >= Bytes(2 * qwen.parameters()) + tower);
    // In chunks of 2048 tokens one image passes at a time.
    let served = super::prefill::tower(vision, &Inference { chunk: Some(2048), ..inference }, qwen.text.hidden);
    assert!(served < tower / 3);
    let short = Inference { seq: 4000, ..inference };
    assert!(infer(&qwen, &short, &overheads()).unwrap_err().to_string().contains("1380 tokens each"));
    let flat = Inference { images: Images { count: 1, width: 1, height: 0 }, ..inference };
    assert!(infer(&qwen, &flat, &overheads()).is_err());
}

#[test]
fn settings_that_do_not_fit_the_model_are_refused() {
    let usual = Inference::new(Precision::Bf16, 1, 128, 1);
    let refused = |inference: Inference, what: &str| {
        let error = infer(&llama_3_8b(), &inference, &overheads()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refused(Inference { tensor: 3, ..usual }, "divides the 32 heads");
    refused(Inference { pipeline: 33, ..usual }, "32 layers");
    refused(Inference { images: Images { count: 1, width: 336, height: 336 }, ..usual }, "no images");
    refused(
        Inference { batch: 1 << 16, seq: 1 << 20, output: 0, attention: AttentionKernel::Eager, ..usual.transformers() },
        "smaller batch",
    );
}

fn any_cache() -> impl Strategy<Value = Cache> {
    prop_oneof![Just(Cache::Dynamic), Just(Cache::Tuple), Just(Cache::Static), (1u64..=1 << 20).prop_map(|block| Cache::Paged { block }),]
}

fn any_precision() -> impl Strategy<Value = Precision> {
    prop_oneof![prop::sample::select(Precision::EXAMPLES.to_vec()), prop::sample::select(Mix::ALL.to_vec()).prop_map(Precision::Gguf)]
}

prop_compose! {
    fn any_inference()(
        precision in any_precision(),
        kv_precision in prop::sample::select(KvPrecision::ALL.map(|(kv, _)| kv).to_vec()),
        cache in any_cache(),
        (batch, seq, output) in (1u64..1 << 12, 1u64..1 << 20, 0u64..1 << 14),
        (quantised_head, repeat_kv, fused, eager, all) in any::<(bool, bool, bool, bool, bool)>(),
        chunk in prop::option::of(1u64..1 << 20),
        tensor in prop::sample::select(vec![1u64, 2, 4, 8, 16, 32]),
        pipeline in 1u64..32,
    ) -> Inference {
        Inference {
            kv_precision, cache, quantised_head, repeat_kv, fused, chunk, tensor, pipeline,
            attention: if eager { AttentionKernel::Eager } else { AttentionKernel::Flash },
            logits: if all { LogitRows::All } else { LogitRows::Last },
            ..Inference::new(precision, batch, seq, output)
        }
    }
}

fn totals(model: &Model, inference: &Inference) -> Option<(u64, Vec<Footprint>)> {
    infer(model, inference, &overheads())
        .ok()
        .map(|memory| (memory.allocated.value.0, memory.moments.iter().map(|moment| moment.footprint).collect()))
}

proptest! {
    #[test]
    fn more_work_never_takes_less(inference in any_inference(), more in 1u64..1 << 12, mla in any::<bool>()) {
        let model = if mla { deepseek_v3() } else { llama_3_8b() };
        let Some((base, _)) = totals(&model, &inference) else { return Ok(()) };
        for larger in [
            Inference { batch: inference.batch + more, ..inference },
            Inference { seq: inference.seq + more, ..inference },
            Inference { output: inference.output + more, ..inference },
        ] {
            if let Some((total, _)) = totals(&model, &larger) {
                prop_assert!(total >= base, "{inference:?}: {base} became {total}");
            }
        }
    }

    #[test]
    fn more_gpus_never_take_more_each(inference in any_inference(), mla in any::<bool>()) {
        let model = if mla { deepseek_v3() } else { llama_3_8b() };
        let all = |inference: &Inference| infer(&model, inference, &overheads()).ok().map(|_| candidates(&model, inference, Bytes(0)));
        let Some(whole) = all(&inference) else { return Ok(()) };
        for shared in [
            Inference { tensor: inference.tensor * 2, ..inference },
            Inference { pipeline: inference.pipeline + 1, ..inference },
        ] {
            for (one, many) in whole.iter().zip(all(&shared).into_iter().flatten()) {
                for (part, bytes) in many.footprint.parts() {
                    prop_assert!(bytes <= one.footprint[part], "{part:?} of {:?}: {:?} became {bytes:?}", one.phase, one.footprint[part]);
                }
            }
        }
    }

    #[test]
    fn fewer_bits_never_take_more(inference in any_inference()) {
        let total = |precision| totals(&llama_3_8b(), &Inference { precision, ..inference }).map(|(_, moments)| moments.last().map(Footprint::total));
        let ladder = [Precision::INT4, Precision::Int8, Precision::Bf16, Precision::Fp32].map(total);
        for pair in ladder.windows(2) {
            if let [Some(few), Some(many)] = pair {
                prop_assert!(few <= many);
            }
        }
    }

    #[test]
    fn the_extremes_of_what_is_legal_are_counted_or_refused(
        (batch, seq, output) in (1u64.., 1u64.., 0u64..),
        (tensor, pipeline, chunk) in (1u64.., 1u64.., prop::option::of(1u64..)),
        cache in any_cache(),
        precision in any_precision(),
        (heads, width, ffn, layers) in (1u64..1 << 24, 1u64..1 << 24, 1u64..1 << 24, 1u64..1 << 24),
    ) {
        let shape = block(Attention::Grouped(grouped(heads, heads, (width / heads).max(1))), Mlp::Dense(dense(ffn)));
        let Ok(model) = model(width, ffn, false, vec![Blocks { count: layers, block: shape }]).check() else { return Ok(()) };
        let inference = Inference { cache, tensor, pipeline, chunk, ..Inference::new(precision, batch, seq, output) };
        if let Ok(memory) = infer(&model, &inference, &overheads()) {
            let peak = memory.peak().unwrap().footprint;
            prop_assert_eq!(peak.parts().map(|(_, bytes)| bytes).sum::<Bytes>(), peak.total());
            prop_assert!(memory.reserved.value >= memory.allocated.value);
            prop_assert!(memory.device.value >= memory.reserved.value);
        }
    }
}
