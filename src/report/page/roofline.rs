//! The roofline: what arithmetic and memory allow at each intensity, and where products lie under it.
//!
//! **Intensity** is operations per byte moved to or from device memory. Below the ridge a kernel waits for memory, above it for arithmetic
//! (Williams, Waterman & Patterson, *Roofline*, CACM 2009). The roof is made of ceilings measured on this machine, not of datasheet
//! numbers, which are drawn dashed. Products of a model's layers are placed where the fitted model of products says they lie; those measured,
//! where they were.

use super::group::{Kind, kinds};
use super::{Item, Source, Subject, Topic, seen};
use crate::calibrate::attention::{AttentionModel, AttentionShape};
use crate::calibrate::matmul::GemmShape;
use crate::calibrate::{Calibration, GpuCalibration, Prediction};
use crate::catalog::{Dtype, GpuModel};
use crate::lang::{Lang, Text};
use crate::plot::{Axis, Chart, Form, Line, Plot, Point, Scale, Series, Unit};
use crate::workload::operations::{AttentionWork, Kernels, Layer, Product, Tokens, Widths, layer};
use crate::workload::{AttentionKernel, Model, Role};

pub(super) const TOPIC: Topic = Topic {
    id: "roofline",
    title: Text::new("Roofline", "루프라인"),
    about: Text::new(
        "Left of the ridge a kernel waits for memory, right of it for arithmetic. Solid roofs are what this machine was measured to do, dashed ones the datasheet's.",
        "꺾이는 점의 왼쪽은 메모리가, 오른쪽은 연산이 병목이다. 실선은 이 장비에서 측정한 한계, 점선은 데이터시트의 값이다.",
    ),
    panel,
};

/// Lengths of the pass whose products are drawn.
const PREFILL: Tokens = Tokens::whole(1, 4096);
const DECODE: Tokens = Tokens::next(32, 4096);

/// Both ends of the horizontal axis, operations per byte.
const LEAST: f64 = 1.0;
const MOST: f64 = 8192.0;

/// What the probe calls a data type, what people do, and the bytes of a number of it.
const DTYPES: [(&str, Dtype, f64); 2] = [("bf16", Dtype::Bf16, 2.0), ("e4m3", Dtype::Fp8, 1.0)];

fn panel(source: &Source<'_>, subject: &Subject<'_>) -> Vec<Item> {
    let kinds = kinds(subject.run);
    kinds.iter().filter_map(|kind| seen(plot(source, subject, kind, kinds.len())?)).collect()
}

fn plot(source: &Source<'_>, subject: &Subject<'_>, kind: &Kind<'_>, all: usize) -> Option<Plot> {
    let gpu = richest(subject.calibration, kind)?;
    let bandwidth = gpu.dram_best()?.value.0;
    let mut series = Vec::new();
    for (tokens, name) in [
        (PREFILL, Text::new("{}: prompt of 4096 tokens", "{}: 4096토큰 프롬프트")),
        (DECODE, Text::new("{}: 32 answers, a token each", "{}: 32개 응답, 토큰 하나씩")),
    ] {
        let name = name.fill(source.lang, &[&source.model.name]);
        series.push(Series { name, points: operations(source, subject.calibration, gpu, &tokens), line: Line::None, dots: true });
    }
    series.extend(measured_products(source, gpu));
    series.extend(measured_roofs(gpu, bandwidth, source.lang));
    series.extend(promised_roofs(source, gpu.model(source.catalog)));
    let x = Axis::new(Text::new("operations per byte", "바이트당 연산").get(source.lang), Unit::FlopsPerByte, Scale::Logarithmic);
    let y = Axis::new(Text::new("rate of operations", "연산 속도").get(source.lang), Unit::FlopsPerSecond, Scale::Logarithmic);
    let about = Text::new(
        "Measured memory bandwidth of {} and measured peaks of matrix products as roofs; operations of one layer of {} in BF16 below them: products as predicted from this machine's measurements, attention by physics alone.",
        "측정한 메모리 대역폭 {}와 행렬 곱 최고 속도가 지붕을 이루고, 그 아래 {} 한 층의 BF16 연산을 놓았다. 행렬 곱은 이 장비의 측정값으로, 어텐션은 물리 모델로 예측했다.",
    );
    let about = about.fill(source.lang, &[&Unit::BytesPerSecond.show(bandwidth, 4), &source.model.name]);
    let title = kind.title(Text::new("Roofline", "루프라인").get(source.lang), all);
    Some(Plot::new(title, about, Form::Chart(Chart::new(x, y, series)), source.lang))
}

/// The GPU of a kind that was measured with most products; of equals, the first.
fn richest<'a>(calibration: &'a Calibration, kind: &Kind<'_>) -> Option<&'a GpuCalibration> {
    let measured = kind.gpus.iter().filter_map(|index| calibration.gpu(*index)).filter(|gpu| !gpu.dram.is_empty());
    measured.reduce(|richest, gpu| if gpu.matmul.len() > richest.matmul.len() { gpu } else { richest })
}

/// From the left end up along the memory's rate to the ridge, and on at the peak.
fn roof(name: String, bandwidth: f64, peak: f64, line: Line, lang: Lang) -> Series {
    const NAMES: [Text; 3] = [Text::new("memory", "메모리"), Text::new("ridge", "꺾이는 점"), Text::new("arithmetic", "연산")];
    let ridge = (peak / bandwidth).clamp(LEAST, MOST);
    let top = peak.min(bandwidth * MOST);
    let places = [(LEAST, bandwidth * LEAST), (ridge, top), (MOST, top)];
    let points = places.into_iter().zip(NAMES).map(|((x, y), name)| Point::new(x, y, name.get(lang)));
    Series { name, points: points.collect(), line, dots: false }
}

fn measured_roofs(gpu: &GpuCalibration, bandwidth: f64, lang: Lang) -> Vec<Series> {
    let roofs = DTYPES.iter().filter_map(|(case, dtype, _)| {
        let peak = gpu.matmul_best(case)?.rate.value.0;
        Some(roof(dtype.to_string(), bandwidth, peak, Line::Solid, lang))
    });
    roofs.collect()
}

fn promised_roofs(source: &Source<'_>, model: Option<&GpuModel>) -> Vec<Series> {
    let Some(model) = model else { return Vec::new() };
    let name = Text::new("{}, datasheet", "{}, 데이터시트");
    let roofs = DTYPES.iter().filter_map(|(_, dtype, _)| {
        let peak = model.matmul_peak(*dtype)?.value.0;
        Some(roof(name.fill(source.lang, &[dtype]), model.bandwidth().value.0, peak, Line::Dashed, source.lang))
    });
    roofs.collect()
}

/// Products as they were measured, over what they move at least, each data type apart.
fn measured_products(source: &Source<'_>, gpu: &GpuCalibration) -> Vec<Series> {
    let name = Text::new("{}, products measured", "{}, 측정한 행렬 곱");
    let series = DTYPES.iter().map(|(case, dtype, width)| {
        let products = gpu.matmul.iter().filter(|product| product.dtype == *case);
        let points = products.map(|product| {
            let name = format!("{} × {} × {}, {}", product.m, product.n, product.k, product.engine);
            Point::new(intensity(product.shape(), *width), product.rate.value.0, name)
        });
        Series { name: name.fill(source.lang, &[dtype]), points: points.collect(), line: Line::None, dots: true }
    });
    series.collect()
}

/// Operations per byte of a product that reads both factors once and writes its result in 16 bits.
fn intensity(shape: GemmShape, width: f64) -> f64 {
    let [m, n, k] = [shape.m, shape.n, shape.k].map(|side| side as f64);
    2.0 * m * n * k / ((m * k + k * n) * width + m * n * 2.0)
}

/// The operations of the model's first layer and its head: products where the fitted model places them, attention where physics does.
fn operations(source: &Source<'_>, calibration: &Calibration, gpu: &GpuCalibration, tokens: &Tokens) -> Vec<Point> {
    let Some(layer) = first_layer(source.model, tokens) else { return Vec::new() };
    let mut points = Vec::new();
    if let Some(fitted) = calibration.matmul_model(gpu.index, source.catalog, Dtype::Bf16) {
        for product in products(&layer, source.model, tokens) {
            let shape = GemmShape { m: product.m, n: product.n, k: product.k };
            let name = role(product.role).get(source.lang);
            points.push(predicted(intensity(shape, 2.0), shape.flops().0, fitted.model.time(shape), name));
        }
    }
    if let Some(model) = gpu.model(source.catalog).and_then(AttentionModel::assumed) {
        let work = layer.attention;
        let name = Text::new("attention", "어텐션").get(source.lang);
        points.push(predicted(work.flops().0 / attention_bytes(&work), work.flops().0, model.time(&AttentionShape::of(&work)), name));
    }
    points
}

fn predicted(intensity: f64, flops: f64, time: Prediction, name: &str) -> Point {
    let range = Some((flops / time.high.0, flops / time.low.0));
    Point { range, named: true, ..Point::new(intensity, flops / time.time.0, name) }
}

fn first_layer(model: &Model, tokens: &Tokens) -> Option<Layer> {
    let run = model.text.blocks.first()?;
    let widths = Widths { stream: 2, product: 2 };
    Some(layer(&run.block, model.text.hidden, tokens, widths, Kernels::Fused, AttentionKernel::Flash, true))
}

/// Products, each shape once.
fn products(layer: &Layer, model: &Model, tokens: &Tokens) -> Vec<Product> {
    let head = Product { role: Role::Head, m: tokens.sequences, n: model.text.vocab, k: model.text.hidden, groups: 1, bias: false };
    let mut products: Vec<Product> = Vec::new();
    for product in layer.products.iter().chain([&head]) {
        if !products.iter().any(|other| other.same_shape(product)) {
            products.push(*product);
        }
    }
    products
}

/// What attention moves at least: queries and results once, keys and values once per sequence, in 16 bits.
fn attention_bytes(work: &AttentionWork) -> f64 {
    let vectors = 2 * work.queries * work.heads + 2 * work.context * work.kv_heads;
    (work.sequences * vectors * work.head_dim * 2) as f64
}

/// What a product is for, in a word or two.
const fn role(role: Role) -> Text {
    match role {
        Role::Query => Text::new("queries", "쿼리"),
        Role::Key => Text::new("keys", "키"),
        Role::Value => Text::new("values", "밸류"),
        Role::QueryKeyValue => Text::new("QKV", "QKV"),
        Role::Output => Text::new("attention out", "어텐션 출력"),
        Role::QueryDown => Text::new("queries down", "쿼리 축소"),
        Role::QueryUp => Text::new("queries up", "쿼리 확장"),
        Role::KvDown => Text::new("KV down", "KV 축소"),
        Role::KvUp => Text::new("KV up", "KV 확장"),
        Role::Gate => Text::new("gate", "게이트"),
        Role::Up => Text::new("MLP up", "MLP 확장"),
        Role::GateUp => Text::new("gate and up", "게이트·확장"),
        Role::Down => Text::new("MLP down", "MLP 축소"),
        Role::Router => Text::new("router", "라우터"),
        Role::SharedGate => Text::new("shared gate", "공유 게이트"),
        Role::Head => Text::new("logits", "로짓"),
        Role::Projector => Text::new("projector", "프로젝터"),
    }
}
