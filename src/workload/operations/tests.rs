use super::*;
use crate::catalog::Catalog;
use crate::workload::{AttentionKernel, CrossEntropy, Model, Role, named};

const BF16: Widths = Widths { stream: 2, product: 2 };

fn model(name: &str) -> Model {
    named(&Catalog::embedded().unwrap(), name).unwrap()
}

fn layers(model: &Model, tokens: &Tokens, kernels: Kernels) -> Vec<(u64, Layer)> {
    let text = &model.text;
    let one =
        |run: &crate::workload::Blocks| (run.count, layer(&run.block, text.hidden, tokens, BF16, kernels, AttentionKernel::Flash, true));
    text.blocks.iter().map(one).collect()
}

/// Twice the parameters that are multiplied, and causal attention: `2·s·a·d` per token and layer.
#[test]
fn operations_are_two_per_weight_and_token() {
    for name in ["Llama-3.1-8B", "Qwen2.5-7B", "Qwen3-8B", "MPT-7B"] {
        let model = model(name);
        let tokens = Tokens::whole(3, 1024);
        let (mut products, mut attention) = (0.0, 0.0);
        for (count, layer) in layers(&model, &tokens, Kernels::Elementary) {
            products += count as f64 * layer.products.iter().map(|product| product.flops().0).sum::<f64>();
            attention += count as f64 * layer.attention.flops().0;
        }
        let weights: u64 = model
            .text
            .blocks
            .iter()
            .map(|run| run.count * run.block.linears(model.text.hidden).map(|linear| linear.matrix()).sum::<u64>())
            .sum();
        assert_eq!(products, 2.0 * 3072.0 * weights as f64, "{name}");
        let shape = model.dimensions();
        let expected = 2.0 * 3072.0 * 1025.0 * (shape.heads * shape.head_dim * shape.layers) as f64;
        assert!((attention / expected - 1.0).abs() < 1e-12, "{name}");
    }
}

#[test]
fn experts_get_the_tokens_that_chose_them() {
    let model = model("Qwen3-30B-A3B");
    let find = |tokens: Tokens| {
        let (_, layer) = layers(&model, &tokens, Kernels::Fused).pop().unwrap();
        *layer.products.iter().find(|product| product.role == Role::Down).unwrap()
    };
    // One token meets its eight experts; a long prompt meets all, and every token is there eight times.
    let one = find(Tokens::next(1, 100));
    assert_eq!((one.m, one.groups), (1, 8));
    let many = find(Tokens::whole(1, 4096));
    assert_eq!((many.m * many.groups, many.groups), (4096 * 8, 128));
}

#[test]
fn elementary_norms_move_what_their_operations_say() {
    // 36 bytes an element, as the table in this module's head adds up.
    let norm = elementwise::norm(crate::workload::Norm::Rms, 1, BF16, Kernels::Elementary);
    assert_eq!((norm.forward.bytes.0, norm.forward.kernels), (36, 8));
    let one = elementwise::norm(crate::workload::Norm::Rms, 1, BF16, Kernels::Fused);
    assert_eq!((one.forward.bytes.0, one.forward.kernels), (4, 1));
}

#[test]
fn fusing_never_moves_more() {
    for name in ["Llama-3.1-8B", "Qwen3-30B-A3B", "DeepSeek-V3", "Gemma-2-9B", "MPT-7B"] {
        let model = model(name);
        let tokens = Tokens::whole(1, 2048);
        let pairs = layers(&model, &tokens, Kernels::Elementary).into_iter().zip(layers(&model, &tokens, Kernels::Fused));
        for ((_, elementary), (_, fused)) in pairs {
            assert!(fused.forward.bytes <= elementary.forward.bytes && fused.forward.kernels <= elementary.forward.kernels, "{name}");
            assert!(fused.backward.bytes <= elementary.backward.bytes && fused.backward.kernels <= elementary.backward.kernels, "{name}");
        }
    }
}

#[test]
fn windows_bound_what_is_seen() {
    let work = AttentionWork { sequences: 1, queries: 1, context: 1000, heads: 1, kv_heads: 1, head_dim: 1, window: None, causal: true };
    assert_eq!(work.pairs(), 1000.0);
    assert_eq!(AttentionWork { window: Some(100), ..work }.pairs(), 100.0);
    assert_eq!(AttentionWork { queries: 1000, ..work }.pairs(), 500_500.0);
    assert_eq!(AttentionWork { queries: 1000, causal: false, ..work }.pairs(), 1_000_000.0);
}

#[test]
fn a_loss_in_one_kernel_moves_least() {
    let moved = |how| {
        let (forward, backward) = loss(1 << 20, 2, how, false);
        forward.bytes.0 + backward.bytes.0
    };
    assert_eq!(moved(CrossEntropy::Full) >> 20, 18 + 22);
    assert!(moved(CrossEntropy::InPlace) < moved(CrossEntropy::Full));
    assert!(moved(CrossEntropy::Fused) < moved(CrossEntropy::Full));
}

#[test]
fn fused_code_joins_products_of_one_input() {
    let model = model("Llama-3.1-8B");
    let roles = |kernels| -> Vec<Role> {
        let (_, layer) = layers(&model, &Tokens::next(1, 1), kernels).pop().unwrap();
        layer.products.iter().map(|product| product.role).collect()
    };
    assert_eq!(roles(Kernels::Fused), [Role::QueryKeyValue, Role::Output, Role::GateUp, Role::Down]);
    assert_eq!(roles(Kernels::Elementary).len(), 7);
    let flops = |kernels| layers(&model, &Tokens::next(1, 1), kernels)[0].1.flops();
    assert_eq!(flops(Kernels::Fused), flops(Kernels::Elementary));
}
