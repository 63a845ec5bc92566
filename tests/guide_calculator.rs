//! The guide's calculator, field by field, against what the guide's own program answers. See `tests/guide_calculator/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::HashMap;
use std::path::Path;

use gpu_assay::catalog::Catalog;
use gpu_assay::estimate::guide_formula::{Method, Optimizer, Precision, Setting, Shape, infer, train};

/// The guide's list of GPUs as it prints them.
const GPUS: [&str; 9] = [
    "RTX 4090 (24GB)",
    "RTX 6000 Ada / L40S (48GB)",
    "A100 40GB (40GB)",
    "A100 80GB (80GB)",
    "H100 80GB (80GB)",
    "2× A100 80GB (160GB)",
    "4× A100 80GB (320GB)",
    "8× A100 80GB (640GB)",
    "8× H100 80GB (640GB)",
];

/// One line of a table, by column.
struct Row<'a>(HashMap<&'a str, &'a str>);

impl Row<'_> {
    fn text(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column}"))
    }

    fn number(&self, column: &str) -> f64 {
        self.text(column).parse().unwrap()
    }

    fn count(&self, column: &str) -> u64 {
        self.text(column).parse().unwrap()
    }

    fn maybe(&self, column: &str) -> Option<f64> {
        (!self.text(column).is_empty()).then(|| self.number(column))
    }

    fn gpus(&self) -> Vec<String> {
        match self.text("gpus") {
            "-" => vec!["8× H100 이상 필요".to_owned()],
            places => places.bytes().map(|digit| GPUS[usize::from(digit - b'0')].to_owned()).collect(),
        }
    }

    /// A model given by its numbers.
    fn shape(&self) -> Shape {
        Shape {
            name: "by hand".to_owned(),
            params_billion: self.number("params_billion"),
            layers: self.count("layers"),
            hidden: self.count("hidden"),
            kv_heads: self.count("kv_heads"),
            head_dim: self.count("head_dim"),
        }
    }
}

/// Calls `check` for every row; returns how many there were.
fn each(file: &str, check: impl Fn(&Row<'_>)) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guide_calculator").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), columns.len(), "{line}");
            check(&Row(columns.iter().copied().zip(cells).collect()));
        })
        .count()
}

#[track_caller]
fn compare_training(row: &Row<'_>, model: &Shape, targets: u64) {
    let setting = Setting {
        method: row.text("method").parse::<Method>().unwrap(),
        optimizer: row.text("optimizer").parse::<Optimizer>().unwrap(),
        batch: row.count("batch"),
        seq: row.count("seq"),
        checkpointing: row.text("checkpointing") == "1",
        rank: row.count("rank"),
        targets,
    };
    let found = train(model, &setting).unwrap();
    let what = format!("{model:?} {setting:?}");
    assert_eq!(found.model, model.name);
    assert_eq!(found.method.word(), row.text("method"));
    for (column, value) in [
        ("params_memory_gb", found.params_memory_gb),
        ("gradient_memory_gb", found.gradient_memory_gb),
        ("optimizer_memory_gb", found.optimizer_memory_gb),
        ("activation_memory_gb", found.activation_memory_gb),
        ("overhead_gb", found.overhead_gb),
        ("total_vram_gb", found.total_vram_gb),
        ("trainable_params_billion", found.trainable_params_billion),
    ] {
        assert_eq!(value, row.number(column), "{column} of {what}");
    }
    assert_eq!(found.lora_params_million, row.maybe("lora_params_million"), "{what}");
    assert_eq!(found.recommended_gpus, row.gpus(), "{what}");
}

#[track_caller]
fn compare_inference(row: &Row<'_>, model: &Shape) {
    let precision: Precision = row.text("precision").parse().unwrap();
    let found = infer(model, precision, row.count("batch"), row.count("seq")).unwrap();
    let what = format!("{model:?} {precision} {} {}", found.batch_size, found.seq_len);
    assert_eq!((found.batch_size, found.seq_len, found.precision), (row.count("batch"), row.count("seq"), precision));
    for (column, value) in [
        ("params_memory_gb", found.params_memory_gb),
        ("kv_cache_gb", found.kv_cache_gb),
        ("overhead_gb", found.overhead_gb),
        ("total_vram_gb", found.total_vram_gb),
    ] {
        assert_eq!(value, row.number(column), "{column} of {what}");
    }
}

#[test]
fn training_of_its_own_models() {
    // Four is the guide's number of adapted products.
    let catalog = Catalog::embedded().unwrap();
    let rows = each("train.csv", |row| compare_training(row, &Shape::named(&catalog, row.text("model")).unwrap(), 4));
    assert_eq!(rows, 5 * 4 * 3 * 4 * 4 * 2 * 4);
}

#[test]
fn inference_of_its_own_models() {
    let catalog = Catalog::embedded().unwrap();
    let rows = each("infer.csv", |row| compare_inference(row, &Shape::named(&catalog, row.text("model")).unwrap()));
    assert_eq!(rows, 5 * 6 * 5 * 5);
}

#[test]
fn shapes_given_by_hand() {
    assert_eq!(each("train_by_hand.csv", |row| compare_training(row, &row.shape(), row.count("targets"))), 1000);
    assert_eq!(each("infer_by_hand.csv", |row| compare_inference(row, &row.shape())), 1000);
}

#[test]
fn keys_of_the_written_form_are_the_guides() {
    let keys = |value: serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let model = Shape::named(&Catalog::embedded().unwrap(), "Qwen2-VL-7B").unwrap();
    let lora = serde_json::to_value(train(&model, &Setting::new(Method::Lora)).unwrap()).unwrap();
    assert!(keys(lora.clone()).contains(&"lora_params_million".to_owned()));
    assert_eq!(lora["method"], "lora");
    let full = serde_json::to_value(train(&model, &Setting::new(Method::FullMixed)).unwrap()).unwrap();
    assert!(!keys(full).contains(&"lora_params_million".to_owned()));
    let int4 = serde_json::to_value(infer(&model, Precision::Int4, 1, 4096).unwrap()).unwrap();
    assert_eq!(
        (int4["model"].as_str(), int4["precision"].as_str(), int4["seq_len"].as_u64()),
        (Some("Qwen2-VL-7B"), Some("int4"), Some(4096))
    );
}
