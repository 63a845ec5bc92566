//! Every model whose total is known has it to the last parameter; every damaged file is refused by name.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::catalog::Catalog;
use crate::workload::{Attention, ImageInput, Model, Module, Role, named};

fn catalog() -> Catalog {
    Catalog::embedded().expect("the built-in catalog")
}

fn model(name: &str) -> Model {
    named(&catalog(), name).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(config: &Value) -> String {
    let error = Model::from_config("m", config).expect_err("a damaged configuration");
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(text.lines().count() == 1 && text.len() < 700, "{text}");
    text
}

/// A small configuration that is right.
fn llama() -> Value {
    json!({"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
           "num_key_value_heads": 2, "vocab_size": 100})
}

fn with(field: &str, value: Value) -> Value {
    let mut config = llama();
    config[field] = value;
    config
}

#[test]
fn every_catalog_model_has_exactly_the_parameters_its_weights_have() {
    let catalog = catalog();
    let mut wrong = Vec::new();
    for row in &catalog.models {
        let found = Model::from_config(&row.name, &row.config()).map(|model| model.parameters());
        match (found, row.parameters) {
            (Err(error), _) => wrong.push(error.to_string()),
            (Ok(found), Some(known)) if found != known => wrong.push(format!("{}: {found} but its weights have {known}", row.name)),
            (Ok(_), known) => assert!(known.is_some() || row.source.contains("not verified"), "{} says no total", row.name),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Totals, from published weights and from sums by hand, that do not come out of the catalog's own file.
#[test]
fn totals_known_elsewhere_come_out() {
    for (name, total) in [
        ("Llama-2-7B", 6_738_415_616),
        ("Llama-2-13B", 13_015_864_320),
        ("Llama-2-70B", 68_976_648_192),
        ("Llama-3.2-1B", 1_235_814_400),
        ("Llama-3.2-3B", 3_212_749_824),
        ("Llama-3.1-8B", 8_030_261_248),
        ("Llama-3.1-70B", 70_553_706_496),
        ("Llama-3.1-405B", 405_853_388_800),
        ("Qwen2.5-0.5B", 494_032_768),
        ("Qwen2.5-7B", 7_615_616_512),
        ("Qwen2.5-14B", 14_770_033_664),
        ("Qwen2.5-32B", 32_763_876_352),
        ("Qwen2.5-72B", 72_706_203_648),
        ("Qwen3-0.6B", 596_049_920),
        ("Qwen3-8B", 8_190_735_360),
        ("Qwen3-14B", 14_768_307_200),
        ("Qwen3-32B", 32_762_123_264),
        ("Qwen3-30B-A3B", 30_532_122_624),
        ("Mistral-7B-v0.1", 7_241_732_096),
        ("Mistral-7B-v0.3", 7_248_023_552),
        ("Mixtral-8x7B", 46_702_792_704),
        ("Gemma-2B", 2_506_172_416),
        ("Gemma-7B", 8_537_680_896),
        ("Gemma-2-9B", 9_241_705_984),
        ("Qwen2-VL-2B", 2_208_985_600),
        ("Qwen2-VL-7B", 8_291_375_616),
        ("Qwen2-VL-72B", 73_405_560_320),
        ("Qwen2.5-VL-7B", 8_292_166_656),
        ("LLaVA-1.5-7B", 7_063_427_072),
        ("LLaVA-1.5-13B", 13_351_494_656),
        ("LLaVA-v1.5-7B", 7_062_902_784),
        ("LLaVA-v1.5-13B", 13_350_839_296),
        ("InternVL2-8B", 8_075_365_376),
        ("InternVL2-26B", 25_514_186_112),
        ("DeepSeek-V3", 671_026_419_200),
    ] {
        assert_eq!(model(name).parameters(), total, "{name}");
    }
}

#[test]
fn parameters_that_one_token_meets() {
    for (name, active) in [("Qwen3-30B-A3B", 3_353_032_704), ("Mixtral-8x7B", 12_879_925_248), ("DeepSeek-V3", 37_552_297_472)] {
        assert_eq!(model(name).active_parameters(), active, "{name}");
    }
    // With its prediction module, whose copies of both tables its files hold.
    assert_eq!(model("DeepSeek-V3").text.unused_parameters, 13_463_426_304);
}

#[test]
fn vision_parts_are_exact() {
    for (name, all) in [("Qwen2-VL-2B", 665_271_296), ("Qwen2-VL-7B", 675_759_104), ("Qwen2-VL-72B", 699_356_672)] {
        assert_eq!(model(name).vision_parameters(), all, "{name}");
    }
    for (name, tower, projector) in [
        ("LLaVA-1.5-7B", 303_507_456, 20_979_712),
        ("LLaVA-v1.5-7B", 303_507_456, 20_979_712),
        ("InternVL2-26B", 5_536_496_000, 116_429_824),
    ] {
        let vision = model(name).vision.expect("a vision model");
        assert_eq!((vision.tower.parameters(), vision.projector_parameters()), (tower, projector), "{name}");
    }
}

#[test]
fn cache_per_token() {
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
        ("Qwen2-VL-2B", 28_672),
        ("Mistral-7B", 131_072),
        ("Mixtral-8x7B", 131_072),
        ("Gemma-2-9B", 344_064),
        ("InternVL2-26B", 196_608),
        ("DeepSeek-V3", 70_272),
    ] {
        assert_eq!(model(name).kv_bytes_per_token_bf16().0, bytes, "{name}");
    }
}

/// Σ rank × (inputs + outputs) over the products named, as PEFT and LitGPT count them.
#[test]
fn products_by_role_give_the_known_numbers_of_adapter_parameters() {
    use Role::{Down, Gate, Key, Output, Query, Up, Value};
    const ALL: [Role; 7] = [Query, Key, Value, Output, Gate, Up, Down];
    for (name, rank, roles, parameters) in [
        ("Llama-2-7B", 8, &[Query, Value][..], 4_194_304),
        ("Llama-2-13B", 8, &[Query, Value], 6_553_600),
        ("Llama-3.2-3B", 10, &[Gate, Up, Down], 9_461_760),
        ("Llama-3.2-3B", 32, &[Query, Value], 9_175_040),
        ("Llama-2-7B", 16, &ALL, 39_976_960),
        ("Llama-3.1-8B", 16, &ALL, 41_943_040),
        ("Mistral-7B", 16, &ALL, 41_943_040),
        ("Qwen2.5-7B", 16, &ALL, 40_370_176),
        ("Llama-3.1-70B", 16, &ALL, 207_093_760),
        ("Qwen2.5-72B", 16, &ALL, 210_534_400),
    ] {
        let model = model(name);
        let of_run = |run: &crate::workload::Blocks| {
            let linears = run.block.linears(model.text.hidden);
            let adapted = linears.filter(|linear| roles.contains(&linear.role));
            run.count * adapted.map(|linear| rank * (linear.inputs + linear.outputs)).sum::<u64>()
        };
        assert_eq!(model.text.blocks.iter().map(of_run).sum::<u64>(), parameters, "{name} rank {rank}");
    }
}

#[test]
fn modules_sum_to_the_whole_for_every_model() {
    let catalog = catalog();
    for row in &catalog.models {
        let model = Model::from_config(&row.name, &row.config()).expect("a catalog row");
        let modules = model.breakdown();
        assert_eq!(modules.iter().map(|(_, parameters)| parameters).sum::<u64>(), model.parameters(), "{}", row.name);
        let has = |module| modules.iter().any(|(known, _)| *known == module);
        assert_eq!(has(Module::VisionTower), model.vision.is_some(), "{}", row.name);
        assert_eq!(has(Module::Experts), model.active_parameters() < model.parameters(), "{}", row.name);
        assert_eq!(has(Module::Head), !model.text.tied, "{}", row.name);
    }
}

#[test]
fn windows_stand_where_the_family_puts_them() {
    let windows = |name: &str| -> Vec<(u64, Option<u64>)> {
        let model = model(name);
        model.text.blocks.iter().map(|run| (run.count, run.block.attention.window())).collect()
    };
    assert_eq!(windows("Mistral-7B-v0.1"), [(32, Some(4096))]);
    assert_eq!(windows("Mistral-7B-v0.3"), [(32, None)]);
    assert_eq!(windows("Gemma-2-9B"), [(21, Some(4096)), (21, None)]);
    // Five of six slide; 62 layers end in two that do.
    assert_eq!(windows("Gemma-3-27B"), [(52, Some(1024)), (10, None)]);
    assert_eq!(windows("Qwen2.5-7B"), [(28, None)]);
    // Only from `max_window_layers` on, and only where it is switched on.
    let mut config = llama();
    config["model_type"] = json!("qwen2");
    config["use_sliding_window"] = json!(true);
    config["max_window_layers"] = json!(1);
    config["sliding_window"] = json!(7);
    let qwen = Model::from_config("m", &config).expect("a right configuration");
    let found: Vec<_> = qwen.text.blocks.iter().map(|run| (run.count, run.block.attention.window())).collect();
    assert_eq!(found, [(1, None), (1, Some(7))]);
    config["layer_types"] = json!(["sliding_attention", "full_attention"]);
    let listed = Model::from_config("m", &config).expect("a right configuration");
    assert_eq!(listed.text.blocks.iter().filter_map(|run| run.block.attention.window()).collect::<Vec<_>>(), [7]);
}

#[test]
fn dense_and_sparse_layers_stand_where_the_file_puts_them() {
    let mut config = llama();
    config["model_type"] = json!("qwen3_moe");
    config["num_hidden_layers"] = json!(6);
    config["num_experts"] = json!(4);
    config["num_experts_per_tok"] = json!(2);
    config["moe_intermediate_size"] = json!(16);
    config["decoder_sparse_step"] = json!(2);
    config["mlp_only_layers"] = json!([1]);
    let model = Model::from_config("m", &config).expect("a right configuration");
    // Layers 2, 4 and 6 would be sparse; the second is kept dense.
    let sparse = |run: &&crate::workload::Blocks| matches!(run.block.mlp, crate::workload::Mlp::Experts(_));
    assert_eq!(model.text.blocks.iter().filter(sparse).map(|run| run.count).sum::<u64>(), 2);
    assert_eq!(model.text.layers(), 6);
}

#[test]
fn a_nested_text_configuration_is_filled_from_its_family() {
    // What llava-hf publishes: the family and what differs from it.
    let config = json!({
        "model_type": "llava",
        "text_config": {"model_type": "llama", "vocab_size": 32064},
        "vision_config": {"model_type": "clip_vision_model", "hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
                          "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14},
    });
    assert_eq!(Model::from_config("llava", &config).expect("as published").parameters(), 7_063_427_072);
    // Newer files of Qwen nest what older ones have at the top.
    let row = catalog();
    let row = row.models.iter().find(|row| row.name == "Qwen2.5-VL-7B").expect("a row").config();
    let mut text = row.clone();
    text.as_object_mut().expect("an object").retain(|name, _| name != "vision_config" && name != "model_type");
    let nested = json!({"model_type": "qwen2_5_vl", "text_config": text, "vision_config": row["vision_config"]});
    assert_eq!(Model::from_config("nested", &nested).expect("as published").parameters(), 8_292_166_656);
    // A null is an absence, and unknown fields are nothing to this program.
    let config = with("head_dim", Value::Null);
    assert_eq!(Model::from_config("m", &config).expect("right").text.hidden, 64);
    assert!(Model::from_config("m", &with("torch_dtype", json!({"a": ["b"]}))).is_ok());
    assert!(Model::from_config("m", &with("hidden_size", json!(64.0))).is_ok());
}

#[test]
fn an_images_tokens_follow_its_familys_rule() {
    for (name, width, height, tokens, patches) in [
        ("LLaVA-1.5-7B", 4000, 3000, 576, 577),
        ("Gemma-3-4B", 100, 100, 256, 4096),
        // 1024 / 28 = 36.57, 768 / 28 = 27.43: to the nearest.
        ("Qwen2-VL-7B", 1024, 768, 37 * 27, 4 * 37 * 27),
        ("Qwen2-VL-7B", 224, 224, 64, 256),
        // Too small: both sides grow to at least four tokens' area. Too large: both shrink to at most 16,384.
        ("Qwen2-VL-7B", 20, 20, 4, 16),
        ("Qwen2.5-VL-7B", 5600, 5600, 128 * 128, 4 * 128 * 128),
        // In its processor's arithmetic this is 127.99999999999999 tokens a side, rounded down; so it is here.
        ("Qwen2.5-VL-7B", 10_000, 10_000, 127 * 127, 4 * 127 * 127),
        // One tile has no thumbnail; 2 × 2 fit a square of twice the side; 4:3 photographs get 4 × 3 and the whole.
        ("InternVL2-8B", 448, 448, 256, 1025),
        ("InternVL2-8B", 896, 896, 5 * 256, 5 * 1025),
        ("InternVL2-26B", 1024, 768, 13 * 256, 13 * 1025),
        ("InternVL2-26B", 448, 896, 3 * 256, 3 * 1025),
    ] {
        let vision = model(name).vision.expect("a vision model");
        assert_eq!((vision.tokens(width, height), vision.patches(width, height)), (tokens, patches), "{name} {width}x{height}");
        assert!(vision.check_image(width, height).is_ok());
        assert!(
            vision.check_image(0, height).is_err() && vision.check_image(1, 201).is_err() && vision.check_image(1 << 21, 1 << 21).is_err()
        );
    }
    // Qwen 2.5 sees windows of 8 × 8 patches in all layers but four.
    let tower = model("Qwen2.5-VL-7B").vision.expect("a vision model").tower;
    let windows: Vec<_> = tower.blocks.iter().map(|run| (run.count, run.block.attention.window())).collect();
    assert_eq!(windows, [(28, Some(64)), (4, None)]);
}

#[test]
fn a_wrong_field_is_named_with_what_was_expected() {
    for (config, said) in [
        (with("hidden_size", Value::Null), "expected `hidden_size`, a whole number of at least 1, but it is missing"),
        (with("hidden_size", json!(0)), "expected `hidden_size` to be a whole number of 1 to 16777216 but found 0"),
        (with("hidden_size", json!(-64)), "but found -64"),
        (with("hidden_size", json!(64.5)), "but found 64.5"),
        (with("hidden_size", json!(1e30)), "but found 1e+30"),
        (with("vocab_size", json!(18_446_744_073_709_551_615_u64)), "`vocab_size`"),
        (with("num_hidden_layers", json!(1_000_000)), "a whole number of 1 to 16384"),
        (with("hidden_size", json!("64")), "but found the text \"64\""),
        (with("hidden_size", json!([64])), "but found a list"),
        (with("num_attention_heads", json!(true)), "but found true"),
        (with("num_key_value_heads", json!(3)), "`num_key_value_heads` to divide the 4"),
        (with("num_attention_heads", json!(6)), "expected the hidden size to be a multiple of the 6 heads but found 64"),
        (with("tie_word_embeddings", json!("yes")), "`tie_word_embeddings` to be true or false"),
        (with("attention_bias", json!(1)), "`attention_bias` to be true or false but found 1"),
        (with("hidden_act", json!("\u{1b}[31m")), "`hidden_act` to be an activation"),
        (with("model_type", json!(7)), "`model_type` to be a text"),
        (with("model_type", Value::Null), "expected `model_type`"),
        (with("model_type", json!("mamba2")), "give the shape by hand: --params-billion --layers --hidden --heads --kv-heads"),
        (json!([]), "expected a JSON object of configuration fields but found a list"),
        (json!({"model_type": "llava", "vision_config": {}}), "expected `text_config`"),
        (json!({"model_type": "llava", "text_config": 3, "vision_config": {}}), "`text_config` to be an object"),
        (json!({"model_type": "gemma3", "text_config": {"hidden_size": "x"}, "vision_config": {}}), "`text_config.hidden_size`"),
        (json!({"model_type": "llava", "text_config": {"model_type": "mystery"}, "vision_config": {}}), "\"mystery\" is not known"),
    ] {
        let text = refused(&config);
        assert!(text.contains(said), "{text}\nexpected {said}");
    }
}

#[test]
fn fields_at_odds_with_each_other_are_refused() {
    let of = |family: &str, more: &[(&str, Value)]| {
        let mut config = llama();
        config["model_type"] = json!(family);
        for (name, value) in more {
            config[*name] = value.clone();
        }
        config
    };
    for (config, said) in [
        (of("mixtral", &[("num_local_experts", json!(4)), ("num_experts_per_tok", json!(5))]), "at most the 4 experts"),
        (of("deepseek_v3", &[("n_routed_experts", json!(4)), ("num_experts_per_tok", json!(5))]), "at most the 4 experts"),
        (of("qwen3_moe", &[("mlp_only_layers", json!([2]))]), "a list of layers below 2"),
        (of("qwen3_moe", &[("mlp_only_layers", json!(2))]), "a list of numbers"),
        (of("gemma2", &[("layer_types", json!(["full_attention"]))]), "one for each layer"),
        (of("gemma2", &[("layer_types", json!(["full_attention", "linear"]))]), "full_attention and sliding_attention"),
        (
            of("gemma2", &[("layer_types", json!(["sliding_attention", "sliding_attention"])), ("sliding_window", Value::Null)]),
            "`sliding_window` is missing",
        ),
        (of("gemma2", &[("final_logit_softcapping", json!(-1))]), "not negative"),
        (
            of("mpt", &[("d_model", json!(64)), ("n_heads", json!(4)), ("n_layers", json!(2)), ("expansion_ratio", json!(1e9))]),
            "1/64 to 64",
        ),
        (
            of("llama", &[("num_hidden_layers", json!(16384)), ("hidden_size", json!(1 << 24)), ("intermediate_size", json!(1 << 24))]),
            "at most 1125899906842624 parameters",
        ),
        (of("llama", &[("head_dim", json!(1 << 24)), ("num_attention_heads", json!(1 << 24))]), "outputs of its Query product"),
    ] {
        let text = refused(&config);
        assert!(text.contains(said), "{text}\nexpected {said}");
    }
}

#[test]
fn a_hostile_file_is_refused_soon() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.json");
    let refused = |content: &[u8]| {
        std::fs::write(&path, content).expect("a file");
        let error = Model::from_config_file(&path).expect_err("a hostile file");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().lines().count() == 1, "{error}");
        error.to_string()
    };
    assert!(refused(&vec![b' '; 100_000_000]).contains("at most 8 MiB"));
    assert!(refused("[".repeat(100_000).as_bytes()).contains("malformed"));
    assert!(refused("{\"a\":".repeat(100_000).as_bytes()).contains("malformed"));
    assert!(refused(b"").contains("malformed"));
    assert!(refused(b"{\"model_type\": \"llama\"").contains("malformed"));
    refused(&[0xff, 0xfe, 0]);
    std::fs::write(&path, llama().to_string()).expect("a file");
    let named_after_folder = Model::from_config_file(folder.path()).expect("a folder with a configuration");
    assert_eq!(Some(named_after_folder.name.as_str()), folder.path().file_name().and_then(|name| name.to_str()));
    assert!(Model::from_config_file(&folder.path().join("absent.json")).is_err());
}

#[test]
fn latent_attention_may_have_no_latent_for_queries() {
    let lite = model("DeepSeek-V2-Lite");
    let Attention::Latent(latent) = lite.text.blocks[0].block.attention else { panic!("latent attention") };
    assert_eq!(latent.q_rank, None);
    let ImageInput::Tiles { most, thumbnail, .. } = model("InternVL2-8B").vision.expect("a vision model").input else { panic!("tiles") };
    assert!(most == 12 && thumbnail);
}

/// A value of any kind, of the sizes that break things.
fn any_value() -> impl Strategy<Value = Value> {
    let number = prop_oneof![
        any::<u64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        (0_u64..1 << 25).prop_map(|n| json!(n)),
        (0_u64..300).prop_map(|n| json!(n)),
    ];
    prop_oneof![
        8 => number.clone(),
        1 => any::<bool>().prop_map(|b| json!(b)),
        1 => "[a-z_]{0,12}".prop_map(|s| json!(s)),
        1 => Just(Value::Null),
        1 => proptest::collection::vec(number, 0..9).prop_map(Value::Array),
    ]
}

proptest! {
    /// Two fields of any row become anything: an error of one line, or a model whose numbers hold together.
    #[test]
    fn any_value_of_any_field_is_an_error_or_a_sound_model(
        row in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any_value()), 1..3),
        vision in any::<bool>(),
        image in (any::<u64>(), any::<u64>()),
    ) {
        static CATALOG: std::sync::OnceLock<Vec<(String, Value)>> = std::sync::OnceLock::new();
        let rows = CATALOG.get_or_init(|| catalog().models.iter().map(|row| (row.name.clone(), row.config())).collect());
        let (name, config) = row.get(rows);
        let mut config = config.clone();
        for (field, value) in changes {
            let inner = ["vision_config", "text_config", "llm_config"].into_iter().find(|name| vision && config[*name].is_object());
            let object = match inner {
                Some(inner) => config[inner].as_object_mut(),
                None => config.as_object_mut(),
            };
            let object = object.expect("an object");
            let names: Vec<String> = object.keys().cloned().collect();
            object.insert(field.get(&names).clone(), value);
        }
        match Model::from_config(name, &config) {
            Err(error) => {
                prop_assert_eq!(error.exit_code(), 2);
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
            Ok(model) => {
                prop_assert!(model.active_parameters() <= model.parameters());
                prop_assert!(model.parameters() <= 1 << 51);
                prop_assert_eq!(model.breakdown().iter().map(|(_, parameters)| parameters).sum::<u64>(), model.parameters());
                prop_assert!(model.text.cached_elements() < 1 << 62);
                if let Some(vision) = &model.vision {
                    prop_assert!(vision.tokens(image.0, image.1) >= 1);
                }
            }
        }
    }

    #[test]
    fn larger_images_never_have_fewer_tokens_in_native_resolution(width in 28_u64..5000, height in 28_u64..5000, more in 0_u64..2000) {
        let input = ImageInput::Native { unit: 28, merge: 2, least: 3136, most: 12_845_056 };
        let (small, large) = (input.view(width, height), input.view(width + more, height));
        prop_assert!(small.tokens >= 1 && large.tokens <= 16_384);
        // Beyond the limit a wider image of equal area may round a little lower.
        if large.tokens < 15_000 {
            prop_assert!(large.tokens >= small.tokens);
        }
    }
}
