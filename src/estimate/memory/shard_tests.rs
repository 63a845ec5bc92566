//! Laws and published numbers of training on many GPUs.

use proptest::prelude::*;

use super::activations::{Counter, stays};
use super::buckets::{Buffers, Elements, Shares, Window};
use super::offload;
use super::piece::Piece;
use super::pipeline::stages;
use super::precision::Precision;
use super::shard::along_sequence;
use super::states::States;
use super::{Footprint, Memory, Overheads, Part, Phase, train};
use crate::figure::Figure;
use crate::units::Bytes;
use crate::workload::{
    Activation, Adapters, Attention, AttentionKernel, Block, Blocks, Checkpointing, Data, Decoder, Dense, Experts, Framework, Grouped,
    Layout, Method, Mlp, Model, Norm, Offload, Optimizer, Parallel, Positions, QkNorm, Targets, Training,
};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn overheads() -> Overheads {
    Overheads {
        context: Figure::assumed(Bytes::mib(500), "test"),
        workspace: Figure::assumed(Bytes::mib(8), "test"),
        slack: Figure::assumed(1.0, "test"),
        communicator: Figure::assumed(Bytes::mib(300), "test"),
    }
}

fn decoder(hidden: u64, vocab: u64, tied: bool, blocks: Vec<Blocks>) -> Model {
    let text = Decoder {
        hidden,
        vocab,
        tied,
        head_bias: false,
        positions: Positions::Rotary,
        final_norm: blocks[0].block.norm,
        logit_softcap: false,
        scaled_embedding: false,
        blocks,
        unused_parameters: 0,
    };
    Model { name: "test".to_owned(), architecture: "llama".to_owned(), text, vision: None }
}

fn grouped(heads: u64, kv_heads: u64, head_dim: u64) -> Attention {
    Attention::Grouped(Grouped {
        heads,
        kv_heads,
        head_dim,
        fused: false,
        qkv_bias: false,
        output_bias: false,
        qk_norm: QkNorm::None,
        window: None,
        softcap: false,
    })
}

fn dense(ffn: u64) -> Dense {
    Dense { ffn, gated: true, fused: false, bias: false, activation: Activation::Silu }
}

fn llama(hidden: u64, heads: u64, kv_heads: u64, ffn: u64, layers: u64, vocab: u64) -> Model {
    let mlp = Mlp::Dense(dense(ffn));
    let block =
        Block { attention: grouped(heads, kv_heads, hidden / heads), mlp, norm: Norm::Rms, layout: Layout::Pre, layer_scale: false };
    decoder(hidden, vocab, false, vec![Blocks { count: layers, block }])
}

/// GPT as Megatron trains it: LayerNorm, four times the width inside, a tied head; linear biases as asked.
fn gpt(hidden: u64, heads: u64, layers: u64, vocab: u64, bias: bool) -> Model {
    let Attention::Grouped(attention) = grouped(heads, heads, hidden / heads) else { unreachable!() };
    let attention = Attention::Grouped(Grouped { fused: true, qkv_bias: bias, output_bias: bias, ..attention });
    let mlp = Mlp::Dense(Dense { ffn: 4 * hidden, gated: false, fused: false, bias, activation: Activation::Gelu });
    let block = Block { attention, mlp, norm: Norm::Layer, layout: Layout::Pre, layer_scale: false };
    decoder(hidden, vocab, true, vec![Blocks { count: layers, block }])
}

fn mixture(experts: u64, active: u64) -> Model {
    let each = dense(768);
    let mlp = Mlp::Experts(Experts { count: experts, active, each, shared: None, shared_gate: false, router_bias: false });
    let block = Block { attention: grouped(32, 4, 128), mlp, norm: Norm::Rms, layout: Layout::Pre, layer_scale: false };
    decoder(2048, 151_936, false, vec![Blocks { count: 48, block }])
}

fn mixed() -> Method {
    Method::FullMixed { fp32_gradients: true }
}

fn parallel(gpus: u64, data: Data) -> Parallel {
    Parallel { gpus, data, ..Parallel::ONE }
}

fn memory(model: &Model, training: &Training) -> Memory {
    train(model, training, &overheads()).unwrap()
}

fn at(memory: &Memory, phase: Phase) -> Footprint {
    memory.moments.iter().find(|moment| moment.phase == phase).unwrap().footprint
}

/// Korthikanti et al., arXiv 2205.05198, table 3 and figure 1: what they count, matrices at 18 bytes a parameter and a first stage's layers.
struct Published {
    shape: (u64, u64, u64),
    batch: u64,
    stages: u64,
    pieces: u64,
    /// GiB: parameters and optimizer; activations as they are; with sequence parallelism and selective recomputation.
    gib: (f64, f64, f64),
}

const PUBLISHED: [Published; 4] = [
    Published { shape: (6144, 64, 48), batch: 4, stages: 1, pieces: 1, gib: (45.5625, 59.25, 9.5625) },
    Published { shape: (12288, 96, 96), batch: 1, stages: 8, pieces: 3, gib: (45.5625, 66.843_75, 12.351_562_5) },
    Published { shape: (20480, 128, 105), batch: 1, stages: 35, pieces: 3, gib: (31.640_625, 114.023_437_5, 23.076_171_875) },
    Published { shape: (25600, 160, 128), batch: 1, stages: 64, pieces: 1, gib: (32.958_984_375, 131.25, 26.562_5) },
];

impl Published {
    fn training(&self, sequence: bool, checkpointing: Checkpointing) -> Training {
        Training {
            attention: AttentionKernel::Eager,
            dropout: true,
            framework: Framework::Megatron,
            checkpointing,
            grad_accum: 512,
            parallel: Parallel {
                gpus: 8 * self.stages,
                tensor: 8,
                sequence,
                pipeline: self.stages,
                interleave: self.pieces,
                ..Parallel::ONE
            },
            ..Training::new(mixed(), self.batch, 2048)
        }
    }

    fn model(&self) -> Model {
        let (hidden, heads, layers) = self.shape;
        gpt(hidden, heads, layers, 51_200, true)
    }

    /// Bytes that the first stage's layers keep, and the statistics of norms among them, which the paper leaves out.
    fn layers(&self, training: &Training) -> (u64, u64) {
        let model = self.model();
        let split = Piece::split(&model, &training.parallel).unwrap();
        let first = stages(&split, &training.parallel, training.grad_accum).unwrap().remove(0);
        assert!(first.first);
        let counter = counter(&first.model, training);
        let hidden = first.model.text.hidden;
        let (mut kept, mut layers) = (0, 0);
        for Blocks { count, block } in &first.model.text.blocks {
            let mut layer = counter.layer(block, hidden);
            if training.parallel.sequence {
                layer = along_sequence(layer, &counter.layer(block, 2 * hidden), 8);
            }
            kept += count * stays(&layer, training.checkpointing);
            layers += count;
        }
        let statistics = 2 * 2 * 4 * training.tokens() * layers;
        (kept * first.alive / first.pieces, statistics * first.alive / first.pieces)
    }
}

fn counter<'a>(model: &Model, training: &'a Training) -> Counter<'a> {
    Counter::new(&model.text, training, Precision::of(&training.method))
}

#[test]
fn korthikanti_parameters_and_optimizer() {
    for row in &PUBLISHED {
        let training = row.training(false, Checkpointing::None);
        let model = row.model();
        let split = Piece::split(&model, &training.parallel).unwrap();
        let first = stages(&split, &training.parallel, training.grad_accum).unwrap().remove(0);
        let hidden = model.text.hidden;
        let matrices: u64 = first
            .model
            .text
            .blocks
            .iter()
            .map(|run| run.count * run.block.linears(hidden).map(|linear| linear.matrix()).sum::<u64>())
            .sum();
        assert_eq!(18.0 * matrices as f64 / GIB, row.gib.0);
        // What we add to that: biases, norms, the table.
        let states = States::of(&first, &training);
        let all = states.weights + states.gradients + states.optimizer;
        assert_eq!(first.parameters() * 18, states.weights + states.gradients + first.parameters() * 12);
        let rest = all as f64 / (18.0 * matrices as f64);
        assert!((1.0..1.1).contains(&rest), "{rest}");
    }
}

#[test]
fn korthikanti_activations() {
    for row in &PUBLISHED {
        let training = row.training(false, Checkpointing::None);
        let (kept, statistics) = row.layers(&training);
        assert_eq!((kept - statistics) as f64 / GIB, row.gib.1, "{:?}", row.shape);
        let training = row.training(true, Checkpointing::Selective);
        let (kept, statistics) = row.layers(&training);
        assert_eq!((kept - statistics) as f64 / GIB, row.gib.2, "{:?}", row.shape);
    }
}

#[test]
fn deepspeeds_estimators_of_model_states() {
    // 2,851 million parameters in layers of at most 32 million, 8 GPUs; T5-large on 4. In GiB and MiB, as the tool rounds them.
    let states = |parameters: u64| States {
        weights: 2 * parameters,
        gradients: 4 * parameters,
        optimizer: 12 * parameters,
        update: 0,
        trainable: parameters,
    };
    let gpu = |parameters: u64, largest: u64, gpus, data, offload| {
        let parallel = parallel(gpus, data);
        let elements = Elements { all: parameters, experts: 0 };
        let own = Shares::of(&parallel).apply(&states(parameters), elements, elements);
        let window = Window { reuse: 0, prefetch: 0 };
        let moved = offload::moved(own, offload, &parallel, largest, parameters, 2, window);
        let kept = moved.states.weights + moved.states.gradients + moved.states.optimizer;
        // Weights and gradients of the layer that runs, which the tool counts for every setting of stage 3.
        let live = if data == Data::Zero3 { 4 * largest } else { 0 };
        ((kept + live) as f64, moved.host as f64 * 8.0)
    };
    let round = |value: f64, unit: f64| (value / unit * 100.0).round() / 100.0;
    for (offload, gib) in [(Offload::None, 6.09), (Offload::Optimizer, 0.78), (Offload::All, 0.12)] {
        assert_eq!(round(gpu(2_851_000_000, 32_000_000, 8, Data::Zero3, offload).0, GIB), gib);
    }
    for (offload, mib) in [(Offload::None, 3291), (Offload::Optimizer, 477), (Offload::All, 125)] {
        let bytes = gpu(737_670_000, 32_900_000, 4, Data::Zero3, offload).0;
        assert_eq!((bytes / 1024.0 / 1024.0).floor() as u64, mib);
    }
    // 2P + 16P/N of ours and gradients shared in FP32; the tool writes 2P + 18P/N, which counts the weights' share twice.
    let (two, _) = gpu(2_851_000_000, 32_000_000, 8, Data::Zero2, Offload::None);
    assert_eq!(round(two, GIB), round((2.0 + 16.0 / 8.0) * 2.851e9, GIB));
    // 16 and 18 bytes a parameter on the host, half again for staging.
    assert_eq!(gpu(2_851_000_000, 32_000_000, 8, Data::Zero3, Offload::Optimizer).1, 1.5 * 16.0 * 2.851e9);
    assert_eq!(gpu(2_851_000_000, 32_000_000, 8, Data::Zero3, Offload::All).1, 1.5 * 18.0 * 2.851e9);
}

#[test]
fn megatron_bridges_small_model() {
    let model = gpt(16, 4, 4, 32, false);
    assert_eq!(model.parameters(), 13_088);
    let training = Training {
        framework: Framework::Megatron,
        optimizer: Optimizer::AdamWFused,
        parallel: Parallel { gpus: 16, data: Data::Zero1, tensor: 2, pipeline: 2, ..Parallel::ONE },
        ..Training::new(mixed(), 2, 8)
    };
    let split = Piece::split(&model, &training.parallel).unwrap();
    let pieces = stages(&split, &training.parallel, 1).unwrap();
    // That tool divides norms by the tensor-parallel degree too, and the final one by the stages: 3,400 parameters. They are whole on every GPU:
    // half of two layers' norms, and all but a quarter of the final norm, more.
    let most = pieces.iter().map(Piece::parameters).max().unwrap();
    assert_eq!(most, 3_400 + 64 + 24);
    // 9 bytes a parameter: weights 2, FP32 gradients 4, a quarter of 12. Beside that a count of steps for every tensor.
    let memory = memory(&model, &training);
    let update = at(&memory, Phase::Update);
    let states = update[Part::Weights].0 + update[Part::Gradients].0 + update[Part::Optimizer].0;
    let tensors = 2 * (4 + 4) + 1 + 2;
    assert!((9 * most..=9 * most + 4 * tensors).contains(&states), "{states}");
    assert_eq!(9 * 3_400, 30_600);
}

#[test]
fn xtuners_optimizer_states_appear_after_the_first_step() {
    // Qwen3-8B in BF16 over 8 GPUs: 30.4019 GiB in later forward passes, 26.5878 in the first.
    let Attention::Grouped(attention) = grouped(32, 8, 128) else { unreachable!() };
    let attention = Attention::Grouped(Grouped { qk_norm: QkNorm::Head, ..attention });
    let block = Block { attention, mlp: Mlp::Dense(dense(12_288)), norm: Norm::Rms, layout: Layout::Pre, layer_scale: false };
    let model = decoder(4096, 151_936, false, vec![Blocks { count: 36, block }]);
    let training =
        Training { parallel: parallel(8, Data::Fsdp), checkpointing: Checkpointing::Full, ..Training::new(Method::FullBf16, 1, 32_768) };
    let rest = at(&memory(&model, &training), Phase::Rest);
    assert!((rest[Part::Optimizer].as_gib() - (30.4019 - 26.5878)).abs() < 1e-4);
}

#[test]
fn ddp_keeps_all_gradients_twice() {
    let model = llama(4096, 32, 8, 14_336, 32, 128_256);
    let one = memory(&model, &Training::new(Method::FullBf16, 1, 512));
    let training = Training { parallel: parallel(8, Data::Ddp), ..Training::new(Method::FullBf16, 1, 512) };
    let eight = memory(&model, &training);
    let (one, eight) = (at(&one, Phase::Update), at(&eight, Phase::Update));
    assert_eq!(eight[Part::Workspace].0 - one[Part::Workspace].0, one[Part::Gradients].0);
    for part in [Part::Weights, Part::Gradients, Part::Optimizer, Part::Activations] {
        assert_eq!(one[part], eight[part]);
    }
}

#[test]
fn zero_divides_by_data_parallel_workers_only() {
    let model = llama(4096, 32, 8, 14_336, 32, 128_256);
    let weights = |parallel: Parallel| {
        let training = Training { parallel, ..Training::new(mixed(), 1, 512) };
        let rest = at(&memory(&model, &training), Phase::Update);
        (rest[Part::Weights].0, rest[Part::Gradients].0, rest[Part::Optimizer].0)
    };
    let (w, g, o) = weights(Parallel::ONE);
    assert_eq!((w, g), (2 * model.parameters(), 4 * model.parameters()));
    assert_eq!(weights(parallel(8, Data::Zero1)), (w, g, o.div_ceil(8)));
    assert_eq!(weights(parallel(8, Data::Zero2)), (w, g.div_ceil(8), o.div_ceil(8)));
    assert_eq!(weights(parallel(8, Data::Zero3)), (w.div_ceil(8), g.div_ceil(8), o.div_ceil(8)));
    // Of 8 GPUs that share products two by two, 4 share the rest.
    let (half, ..) = weights(Parallel { tensor: 2, ..parallel(8, Data::Zero3) });
    let norms = 65 * 4096;
    assert_eq!(half, (2 * ((model.parameters() - norms) / 2 + norms)).div_ceil(4));
}

#[test]
fn experts_are_spread_over_workers_and_the_rest_is_not() {
    let model = mixture(128, 8);
    let training = |expert, data| Training { parallel: Parallel { expert, ..parallel(8, data) }, ..Training::new(mixed(), 1, 1024) };
    let experts = 48 * 128 * 3 * 2048 * 768;
    let weights = |training: &Training| at(&memory(&model, training), Phase::Update)[Part::Weights].0;
    assert_eq!(weights(&training(8, Data::Ddp)), 2 * (model.parameters() - experts + experts / 8));
    // Shared further among all workers, both ways come to the same.
    let (alone, spread) = (weights(&training(1, Data::Zero3)), weights(&training(8, Data::Zero3)));
    assert!(alone.abs_diff(spread) <= 1, "{alone} {spread}");
    // All-to-all buffers, and room for a busy expert, are the price. Megatron has no other.
    let workspace = |expert| {
        let training = Training { framework: Framework::Megatron, ..training(expert, Data::Ddp) };
        at(&memory(&model, &training), Phase::Forward)[Part::Workspace].0
    };
    let sent_and_received = 1024 * 8 * 2048 * 2 * 2;
    assert_eq!(workspace(8) - workspace(1), (sent_and_received * 12 + 1024 * 8 * (2048 + 4 * 768) * 2 * 2) / 10);
}

#[test]
fn the_pipelines_first_stage_keeps_most_micro_batches() {
    let model = Piece::whole(&llama(1024, 8, 8, 4096, 24, 32_000));
    let parallel = Parallel { gpus: 4, pipeline: 4, ..Parallel::ONE };
    let alive = |parallel: &Parallel, micro| stages(&model, parallel, micro).unwrap().iter().map(|s| s.alive).collect::<Vec<_>>();
    // The third stage is like the second and keeps less.
    assert_eq!(alive(&parallel, 16), [4, 3, 1]);
    assert_eq!(alive(&parallel, 2), [2, 2, 1]);
    assert_eq!(alive(&parallel, 1), [1, 1, 1]);
    let interleaved = Parallel { interleave: 3, ..parallel };
    // p·v + p − 1 pieces of a stage's three.
    assert_eq!(alive(&interleaved, 16)[0], 15);
    let whole = stages(&model, &parallel, 16).unwrap();
    assert!(whole[0].first && !whole[0].last && whole[2].last);
    let counted = whole[0].parameters() + 2 * whole[1].parameters() + whole[2].parameters();
    assert_eq!(counted, model.parameters());
}

#[test]
fn a_tied_table_is_on_the_first_and_the_last_stage() {
    let model = gpt(1024, 16, 24, 50_304, true);
    let parallel = Parallel { gpus: 2, pipeline: 2, ..Parallel::ONE };
    let pieces = stages(&Piece::whole(&model), &parallel, 4).unwrap();
    let total: u64 = pieces.iter().map(Piece::parameters).sum();
    assert_eq!(total, model.parameters() + 1024 * 50_304);
}

#[test]
fn few_key_value_heads_are_repeated_and_many_divided() {
    let model = llama(4096, 32, 8, 14_336, 2, 128_256);
    for (tensor, kv) in [(2, 4), (8, 1), (16, 1)] {
        let piece = Piece::split(&model, &Parallel { gpus: tensor, tensor, ..Parallel::ONE }).unwrap();
        let Attention::Grouped(grouped) = piece.model.text.blocks[0].block.attention else { unreachable!() };
        assert_eq!((grouped.heads, grouped.kv_heads), (32 / tensor, kv));
    }
}

#[test]
fn offloading_moves_states_to_the_host() {
    let model = llama(4096, 32, 8, 14_336, 32, 128_256);
    let with = |offload| Training { offload, parallel: parallel(8, Data::Zero3), ..Training::new(mixed(), 1, 512) };
    let (none, optimizer, all) =
        (memory(&model, &with(Offload::None)), memory(&model, &with(Offload::Optimizer)), memory(&model, &with(Offload::All)));
    assert_eq!(none.host, Bytes(0));
    // All workers are on one node: 16 bytes of every parameter, half again. The counts of steps are less than a millionth.
    let p = model.parameters() as f64;
    assert!((optimizer.host.as_f64() / (1.5 * 16.0 * p) - 1.0).abs() < 1e-5);
    assert!((all.host.as_f64() / (1.5 * 18.0 * p) - 1.0).abs() < 1e-5);
    let rest = |memory: &Memory| at(memory, Phase::Rest);
    assert_eq!((rest(&optimizer)[Part::Optimizer], rest(&all)[Part::Weights]), (Bytes(0), Bytes(0)));
    assert_eq!(rest(&optimizer)[Part::Weights], rest(&none)[Part::Weights]);
    // Two nodes of four hold half each.
    let two = Training { parallel: Parallel { per_node: 4, ..parallel(8, Data::Zero3) }, ..with(Offload::Optimizer) };
    assert!(memory(&model, &two).host.0.abs_diff(optimizer.host.0 / 2) <= 8);
}

#[test]
fn frozen_weights_are_shared_too() {
    let model = llama(4096, 32, 8, 14_336, 32, 128_256);
    let adapters = Adapters { rank: 16, targets: Targets::AllLinear, dropout: false, fp32: false };
    let training = |parallel| Training { parallel, ..Training::new(Method::Lora(adapters.clone()), 1, 512) };
    let one = at(&memory(&model, &training(Parallel::ONE)), Phase::Update);
    let eight = at(&memory(&model, &training(parallel(8, Data::Zero3))), Phase::Update);
    for part in [Part::Weights, Part::Gradients, Part::Optimizer] {
        assert_eq!(eight[part].0, one[part].0.div_ceil(8), "{part:?}");
    }
}

#[test]
fn every_way_of_sharing_has_a_communicator() {
    let model = mixture(128, 8);
    let context = |parallel| memory(&model, &Training { parallel, ..Training::new(mixed(), 1, 128) }).context.value;
    let each = Bytes::mib(300);
    assert_eq!(context(Parallel::ONE), Bytes::mib(500));
    assert_eq!(context(parallel(8, Data::Ddp)), Bytes::mib(500) + each);
    let all = Parallel { gpus: 16, tensor: 4, pipeline: 2, expert: 2, ..Parallel::ONE };
    assert_eq!(context(all), Bytes::mib(500) + each * 4);
}

#[test]
fn what_cannot_be_shared_is_refused() {
    let model = llama(4096, 32, 8, 14_336, 32, 128_256);
    let error = |model: &Model, parallel, offload| {
        let training = Training { parallel, offload, ..Training::new(mixed(), 1, 128) };
        train(model, &training, &overheads()).unwrap_err().to_string()
    };
    let one = Parallel::ONE;
    let heads = error(&model, Parallel { gpus: 3, tensor: 3, ..one }, Offload::None);
    assert_eq!(heads, "model test: 32 heads cannot be divided among 3 tensor-parallel GPUs; choose a degree that divides them");
    let kv = error(&llama(4096, 32, 32, 14_337, 2, 1000), Parallel { gpus: 2, tensor: 2, ..one }, Offload::None);
    assert_eq!(
        kv,
        "model test: 14337 features inside its MLP cannot be divided among 2 tensor-parallel GPUs; choose a degree that divides them"
    );
    let layers = error(&model, Parallel { gpus: 64, pipeline: 64, ..one }, Offload::None);
    assert_eq!(layers, "32 layers of test cannot make 64 stages of 1 pieces each; choose fewer");
    let experts = error(&model, Parallel { gpus: 2, expert: 2, ..one }, Offload::None);
    assert!(experts.contains("no experts"), "{experts}");
    let many = error(&mixture(8, 2), Parallel { gpus: 3, expert: 3, ..one }, Offload::None);
    assert!(many.contains("8 experts cannot be spread over 3 GPUs"), "{many}");
    let workers = error(&mixture(8, 2), Parallel { gpus: 4, tensor: 2, expert: 4, ..one }, Offload::None);
    assert!(workers.contains("data-parallel workers"), "{workers}");
    assert!(error(&model, Parallel { gpus: 8, interleave: 2, ..one }, Offload::None).contains("interleaving"));
    assert!(error(&model, Parallel { gpus: 8, sequence: true, ..one }, Offload::None).contains("sequence parallelism"));
    assert!(error(&model, parallel(8, Data::Zero2), Offload::All).contains("zero3"));
    assert!(error(&model, Parallel { pipeline: 2, ..parallel(8, Data::Zero3) }, Offload::None).contains("zero1"));
}

fn any_method() -> impl Strategy<Value = Method> {
    let adapters = Adapters { rank: 8, targets: Targets::AllLinear, dropout: true, fp32: true };
    prop_oneof![
        Just(Method::FullFp32),
        Just(Method::AmpBf16),
        Just(mixed()),
        Just(Method::FullBf16),
        Just(Method::Lora(adapters.clone())),
        Just(Method::Qlora(adapters, crate::workload::Quantised::Nf4Double)),
    ]
}

fn any_data() -> impl Strategy<Value = Data> {
    prop_oneof![Just(Data::Ddp), Just(Data::Zero1), Just(Data::Zero2), Just(Data::Zero3), Just(Data::Fsdp)]
}

prop_compose! {
    fn any_training()(
        method in any_method(),
        optimizer in prop_oneof![Just(Optimizer::AdamWLoop), Just(Optimizer::AdamWForeach), Just(Optimizer::AdamWFused), Just(Optimizer::Adam8bit), Just(Optimizer::SgdMomentum)],
        batch in 1u64..5,
        seq in 1u64..4096,
        checkpointing in prop_oneof![Just(Checkpointing::None), Just(Checkpointing::Selective), Just(Checkpointing::Full)],
        attention in prop_oneof![Just(AttentionKernel::Flash), Just(AttentionKernel::Eager)],
        framework in prop_oneof![Just(Framework::HuggingFace), Just(Framework::Megatron)],
        dropout in any::<bool>(),
        grad_accum in 1u64..9,
    ) -> Training {
        Training { optimizer, checkpointing, attention, framework, dropout, grad_accum, ..Training::new(method, batch, seq) }
    }
}

fn any_model() -> impl Strategy<Value = Model> {
    prop_oneof![
        (1u64..5, 1u64..5, 1u64..5).prop_map(|(width, ffn, layers)| llama(512 * width, 16, 4, 1024 * ffn, 8 * layers, 32_001)),
        (1u64..5, 1u64..5, any::<bool>()).prop_map(|(width, layers, bias)| gpt(512 * width, 16, 8 * layers, 50_257, bias)),
        (1u64..4).prop_map(|active| mixture(16, active)),
    ]
}

/// Parts that sharing divides. What it costs stands in the workspace.
const SHARED: [Part; 5] = [Part::Weights, Part::Gradients, Part::Optimizer, Part::Activations, Part::Logits];

/// Whether `many` GPUs have more of any shared part than `few`, phase by phase.
///
/// Two exceptions by nature. Which layer's backward pass is the worst may change, and one with fewer gradients has more activations; so of that
/// phase only what stands still is compared. And gradients that stand in a buffer are there when one GPU has made none yet; so of
/// gradients the update is compared, when all are there.
fn never_above(few: &Memory, many: &Memory) -> Result<(), String> {
    for (a, b) in few.moments.iter().zip(&many.moments) {
        assert_eq!(a.phase, b.phase);
        for part in SHARED {
            let moves = match part {
                Part::Gradients => a.phase != Phase::Update,
                Part::Activations | Part::Logits => a.phase == Phase::Backward,
                _ => false,
            };
            if !moves && b.footprint[part] > a.footprint[part] {
                return Err(format!("{:?} {part:?} {:?} → {:?}", a.phase, a.footprint[part], b.footprint[part]));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn one_gpu_shares_nothing_whatever_the_setting(model in any_model(), training in any_training(), data in any_data()) {
        let alone = memory(&model, &training);
        let shared = Training { parallel: Parallel { data, per_node: 1, ..Parallel::ONE }, ..training };
        prop_assert_eq!(alone, memory(&model, &shared));
    }

    #[test]
    fn workers_never_take_more_of_any_part(model in any_model(), training in any_training(), data in any_data(), n in 1u64..6) {
        let of = |gpus| memory(&model, &Training { parallel: parallel(gpus, data), ..training.clone() });
        let (few, many) = (of(1 << (n - 1)), of(1 << n));
        prop_assert_eq!(never_above(&few, &many), Ok(()));
        // From two workers on the buffers are there, and more workers never make a GPU hold more.
        if n > 1 {
            prop_assert!(many.allocated.value <= few.allocated.value);
        }
    }

    #[test]
    fn sharing_products_never_takes_more(model in any_model(), training in any_training(), t in 0u32..4, sequence in any::<bool>()) {
        // 8-bit states of tensors that fall below 4,096 elements by splitting are FP32 and may take more.
        prop_assume!(training.optimizer != Optimizer::Adam8bit);
        let of = |tensor: u64, sequence| {
            let parallel = Parallel { gpus: tensor, tensor, sequence, ..Parallel::ONE };
            memory(&model, &Training { parallel, ..training.clone() })
        };
        let (few, many) = (of(1 << t, false), of(2 << t, sequence));
        prop_assert_eq!(never_above(&few, &many), Ok(()));
    }

    #[test]
    fn stages_never_take_more_where_they_divide_the_layers(model in any_model(), training in any_training(), p in 1u32..4) {
        let of = |pipeline: u64| {
            let parallel = Parallel { gpus: pipeline, pipeline, ..Parallel::ONE };
            memory(&model, &Training { parallel, grad_accum: 16, ..training.clone() })
        };
        let (few, many) = (of(1), of(1 << p));
        // Logits are on the last stage; the stage that needs most may have none, and may keep the activations of as many layers.
        prop_assert_eq!(never_above(&few, &many), Ok(()));
    }

    #[test]
    fn parts_sum_to_the_total(model in any_model(), training in any_training(), data in any_data(), t in 0u32..3, e in 0u32..2) {
        let moe = model.text.blocks.iter().any(|run| matches!(run.block.mlp, Mlp::Experts(_)));
        let expert = if moe { 1 << e } else { 1 };
        let parallel = Parallel { gpus: 16, data, tensor: 1 << t, expert, ..Parallel::ONE };
        let memory = memory(&model, &Training { parallel, ..training });
        let peak = memory.peak().unwrap().footprint;
        prop_assert_eq!(peak.parts().map(|(_, bytes)| bytes.0).sum::<u64>(), memory.allocated.value.0);
        for moment in &memory.moments {
            prop_assert!(moment.footprint.total() <= memory.allocated.value);
        }
    }

    #[test]
    fn a_share_is_never_lost_and_never_more(bytes in 0u64..1 << 50, all in 1u64..1 << 40, part in 0.0..1.0f64, n in 1u64..1 << 12) {
        let elements = Elements { all, experts: (all as f64 * part) as u64 };
        let share = elements.share(bytes, n, 1);
        prop_assert!(share <= bytes && share.saturating_mul(n) >= bytes);
    }
}

#[test]
fn fsdp_gathers_two_layers_and_what_belongs_to_none() {
    let model = llama(4096, 32, 8, 14_336, 32, 128_256);
    let piece = Piece::whole(&model);
    let training = Training { parallel: parallel(8, Data::Fsdp), ..Training::new(Method::AmpBf16, 1, 512) };
    let precision = Precision::of(&training.method);
    let alone = States::of(&piece, &training);
    let elements = Elements { all: piece.parameters(), experts: 0 };
    let own = Shares::of(&training.parallel).apply(&alone, elements, elements);
    let buffers = Buffers::of(&piece, &training.parallel, training.framework, &precision, &alone, &own);
    let layer = 4096 * (4096 * 2 + 2 * 1024 + 3 * 14_336) + 2 * 4096;
    let outside = 2 * 128_256 * 4096 + 4096;
    // FP32 shards are gathered in BF16; their gradients come in BF16 and are reduced in FP32.
    assert_eq!(buffers.forward, 2 * (2 * layer + outside));
    assert_eq!(buffers.backward, buffers.forward + (2 + 4) * outside);
}
